"""Texts of YAML files that a configuration folder may hold: harmless ones, and attacks."""

from __future__ import annotations

import json

from tests.fuzzing.draw import Draw
from tests.fuzzing.paths import CANARY

_CALLED = "tests.fuzzing.canary.sing"
_SEPARATORS = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\r", "\r\n")
_PACKAGES = (
    "_global_", "hydra", "hydra.callbacks", "hydra.launcher", "hydra.sweeper", "hydra.job_logging",
    "hydra.job.env_set", "_group_", "_group_._name_", "_name_", "_global_.hydra", "model", "bundle",
    "hydra.run", "hydra.callbacks._name_", "${x}", "hydra._group_", "HYDRA", "'hydra'", "hydra:x",
    "_here_", "..hydra", "hydra.", "_global_.hydra.callbacks",
)  # fmt: skip
_HEADERS = (
    "# @package {}\n", " # @package {}\n", "#@package {}\n", "\t# @package {}\n",
    "#   @package {}\n",
    "# @package {} \n", "# x{s}# @package {}\n", "\ufeff# @package {}\n",
    "# @package _group_{s}# @package {}\n",
    "# @package {}{s}", "%YAML 1.1\n---\n# @package {}\n", "# @package: {}\n", "#@package{}\n",
    "\n# @package {}\n", "# @PACKAGE {}\n", "# @package {} # x\n", "---\n# @package {}\n",
)  # fmt: skip
_DEFAULTS = (
    "b", "/recipe/b", "/recipe: b", "/recipe@hydra: b", "/recipe@hydra.callbacks: b",
    "/recipe@_global_: b", "/recipe@_global_.hydra: b", "b@hydra", "b@_here_: b", "_self_",
    "optional b", "optional /recipe@hydra: b", "override /hydra/callbacks: c",
    "override /hydra/launcher: c", "override /hydra/job_logging: c", "override /hydra/sweeper: c",
    "override /hydra/hydra_logging: c", "override /hydra/output: c", "override /hydra/env: c",
    "/hydra/callbacks: c", "/hydra/callbacks@hydra.callbacks: c",
    "/hydra/job_logging@hydra.job_logging: c",
    "/hydra/launcher@hydra.launcher: c", "override /hydra/launcher@_global_: c", "${x}",
    "/recipe: ${x}",
    "/recipe: ${y:b}", "/recipe@${x}: b", "/recipe: [b, c]", "/recipe: null", "/recipe: ???",
    "../recipe/b", "/../linked/d", "b.yaml", "a", "/deploy", "/hydra/config", "/model: yolov3",
    "/backend@chain.head: a", "/model@hydra.callbacks.c: a", "/recipe@model: b",
    "/recipe@bundle: b",
    "optional override /hydra/launcher: c", "/recipe@hydra.job.env_set: b", "linked",
    "/linked/d@hydra: d",
)  # fmt: skip
_HARMLESS = (
    "model: {name: x}", "bench: {runs: 0}", "verify: {images: 1}", "x: b", "precision: {}",
    "cache_gib: 1",
    "model: {name: '${stem:a/b.c}'}", "bench: {runs: '${verify.images}'}",
    "model: {classes: [a, b]}",
    "convert: {timeout: 5.5}", "model: {weights: theirs/w.pth}", "chain: {}",
    "backend: {options: {}}",
    "model:\n  name: &n y\n  classes: [*n]", "partition: {cuts: []}", "", "verify: {images: 0x2}",
)  # fmt: skip
_ENCODINGS = (
    "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7", "cp500",
)  # fmt: skip


def configuration_text(draw: Draw, hostile: bool, odd: bool) -> bytes:
    """The bytes of a file.

    Args:
        draw: chance.
        hostile: it tries to reach Hydra, code, or a file outside.
        odd: its encoding, its lines or its header are such as few people write.
    """
    text = _header(draw, hostile, odd)
    if draw.maybe(0.4 if hostile else 0.1):
        entries = [_default(draw, hostile) for _ in range(draw.few(3))]
        text += "".join(["defaults:\n", *(f"  - {entry}\n" for entry in entries)])
    bodies = [_attack(draw)] if hostile and draw.maybe(0.8) else []
    if odd and draw.maybe(0.3):
        bodies.append(_odd_yaml(draw))
    bodies += [draw.one(_HARMLESS) for _ in range(draw.number(0, 1 + (not bodies)))]
    draw.chance.shuffle(bodies)
    text += "\n".join({body.partition(":")[0]: body for body in bodies}.values()) + "\n"
    if odd and draw.maybe(0.3):
        text = text.replace("\n", draw.one(_SEPARATORS), draw.number(1, 3))
    return _encoded(draw, text) if odd and draw.maybe(0.4) else text.encode()


def direct_attack(draw: Draw) -> bytes:
    """A file that makes Hydra call something where nobody looks at it."""
    call = _call(draw)
    package, body = draw.one(
        [
            ("_global_", f"hydra: {{callbacks: {{c: {call}}}}}"),
            ("_global_", f"a: &a {{callbacks: {{c: {call}}}}}\n'hydra': *a"),
            ("_global_", f"hydra: {{job_logging: {_logging(draw)}}}"),
            ("_global_", f'"h\\u0079dra": {{callbacks: {{c: {call}}}}}'),
            ("hydra", f"callbacks: {{c: {call}}}"),
            ("hydra", f"job_logging: {_logging(draw)}"),
            ("hydra.callbacks", f"c: {call}"),
            ("hydra.job_logging", _logging(draw)),
        ]
    )
    form = draw.one(_HEADERS) if draw.maybe(0.5) else _HEADERS[0]
    header = form.replace("{}", package).replace("{s}", draw.one(_SEPARATORS))
    return f"{header}{body}\n".encode()


def _header(draw: Draw, hostile: bool, odd: bool) -> str:
    package = draw.one(_PACKAGES) if hostile and draw.maybe(0.6) else "_global_"
    form = draw.one(_HEADERS) if odd else _HEADERS[0]
    return form.replace("{}", package).replace("{s}", draw.one(_SEPARATORS))


def _default(draw: Draw, hostile: bool) -> str:
    entry = draw.one(_DEFAULTS) if hostile else draw.one(_DEFAULTS[:3])
    if ": " in entry and draw.maybe(0.3):
        key, _, value = entry.partition(": ")
        return f"{{{json.dumps(key)}: {value}}}"
    return f"'{entry}'" if "$" in entry and ": " not in entry else entry


def _call(draw: Draw) -> str:
    """A mapping that Hydra would make a call of."""
    beside = f"{draw.outside}/{draw.one([CANARY, 'made'])}"
    return draw.one(
        [
            *[f"{{_target_: {_CALLED}}}"] * 4,
            f"{{_target_: os.mkdir, path: {beside}}}",
            f"{{_target_: pathlib.Path.touch, _args_: [{beside}]}}",
            f"{{_target_: builtins.open, file: {beside}, mode: w}}",
            "{_target_: subprocess.check_output, args: ['true']}",
            f"{{_target_: logging.FileHandler, filename: {beside}}}",
            f"{{_target_: hydra.utils.call, config: {{_target_: {_CALLED}}}}}",
            f"{{'_targ\\x65t_': {_CALLED}}}",
            f'{{"_targ\\u0065t_": {_CALLED}}}',
            f"{{_target_: '${{x}}', x: {_CALLED}}}",
            f"{{<<: {{_target_: {_CALLED}}}}}",
            f"{{_target_: {_CALLED}, _partial_: true}}",
            f"{{? _target_ : {_CALLED}}}",
        ]
    )


def _logging(draw: Draw) -> str:
    """Settings of logging that make a call, or write a file."""
    beside = f"{draw.outside}/log"
    return draw.one(
        [
            f"{{version: 1, handlers: {{c: {{(): {_CALLED}}}}}, root: {{handlers: [c]}}}}",
            f"{{version: 1, handlers: {{c: {{class: {_CALLED}}}}}, root: {{handlers: [c]}}}}",
            f"{{handlers: {{c: {{class: logging.FileHandler, filename: {beside}}}}}}}",
            f"{{formatters: {{plain: {{(): {_CALLED}}}}}}}",
            "{handlers: {console: {stream: 'ext://tests.fuzzing.canary.sing'}}}",
            f"{{filters: {{f: {{(): {_CALLED}}}}}}}",
        ]
    )


def _attack(draw: Draw) -> str:
    """A piece of YAML that must not have an effect."""
    call, beside = _call(draw), f"{draw.outside}/{CANARY}"
    hydra = draw.one(["hydra", '"h\\u0079dra"', "'hydra'", "!!str hydra", "? hydra\n", "hydra"])
    below = draw.one(
        [
            f"callbacks: {{c: {call}}}",
            f"launcher: {call}",
            f"sweeper: {call}",
            f"job_logging: {_logging(draw)}",
            f"hydra_logging: {_logging(draw)}",
            f"run: {{dir: {draw.outside}/made}}",
            f"sweep: {{dir: {draw.outside}/made}}",
            f"output_subdir: {draw.outside}/made",
            f"job: {{env_set: {{PYTHONPATH: {draw.outside}}}}}",
            "job: {chdir: true}",
            f"searchpath: ['file://{draw.outside}']",
            "verbose: true",
            "mode: MULTIRUN",
            "sweeper: {params: {+recipe: 'a,b'}}",
            "env: {x: 1}",
        ]
    )
    file = draw.one(
        [beside, f"../{draw.outside.name}/x", "/etc/passwd", "~/x", "file:///etc/passwd"]
    )
    resolver = draw.one(
        [
            "${oc.env:HOME}", "${oc.env:NONE,'a'}", "${oc.create:{a: 1}}",
            "${oc.decode:'{a: 1}'}", "${oc.select:hydra.callbacks}", "${oc.dict.keys:hydra}",
            "${oc.deprecated:model}", "${now:%Y}", "${hydra:runtime.cwd}", "${python_version:}",
            "${asset:../../../etc/passwd}", "${stem:${oc.env:HOME}}", "${${x}:HOME}",
            "\\${oc.env:HOME}", "${oc.env:${x}}", "${hydra.job}", "${.x}", "${..hydra}",
            "${oc.create:${oc.env:HOME}}", "${", "${a", "${stem:}", "a${b}c${d}",
        ]
    )  # fmt: skip
    return draw.one(
        [
            f"{hydra}: {{{below}}}",
            f"{hydra}: {{{below}}}",
            below,
            below,
            f"c: {call}",
            f"_target_: {_CALLED}",
            f"a: &a {{{below}}}\n{hydra}: *a",
            f"<<: {{hydra: {{{below}}}}}",
            f"<<: [{{hydra: {{{below}}}}}, {{hydra: 1}}]",
            f"hydra.callbacks: {{c: {call}}}",
            f"'hydra.callbacks.c': {call}",
            f"model: {{params: {call}}}",
            f"model: {{params: {{target: '{_CALLED.replace('.sing', ':sing')}'}}}}",
            f"model: {{target: '{_CALLED.replace('.sing', ':sing')}'}}",
            "model: {rewrites: [tests.fuzzing.canary]}",
            "model: {readers: {.w: 'tests.fuzzing.canary:sing'}}",
            f"model: {{{draw.one(['weights', 'file', 'samples', 'eval'])}: {json.dumps(file)}}}",
            f"bundle: {draw.outside}/made",
            f"bundle: {{folder: {draw.outside}/made}}",
            f"bundle: {{sign: {beside}}}",
            f"cache: {draw.outside}/made",
            f"code: {draw.one(['os', '[tests]', 'tests.fuzzing.canary'])}",
            f"model: {{name: {json.dumps(resolver)}}}",
            f"bundle: {{folder: {json.dumps(resolver)}}}",
            f"x: {json.dumps(resolver)}\nmodel: {{weights: '${{x}}'}}",
            f"x: {beside}\nmodel: {{weights: '${{x}}', file: '${{x}}'}}",
            f"x: {draw.outside}/made\ncache: '${{x}}'",
            f"x: {draw.outside}/made\nbundle: {{folder: '${{x}}'}}",
            f"x: {call}\nhydra: {{callbacks: {{c: '${{x}}'}}}}",
            f"hydra: '${{x}}'\nx: {{{below}}}",
            "a: 2026-11-29\nb: 0o17\nc: .inf\nd: !!binary aGk=\ne: !!set {a}",
            "model: {inputs: {image: {shape: [1, 3, 1e400]}}}",
            "model: " + draw.one(["[]", "1", "null", "'${hydra}'", "x", "{name: {a: 1}}"]),
            f"defaults: {draw.one(['1', 'a', '{a: b}', '[[a]]', '[{a: b, c: d}]', 'null', '[1]'])}",
        ]
    )  # fmt: skip


def _odd_yaml(draw: Draw) -> str:
    """What a reader of YAML may run, repeat, or fail at."""
    levels = (", ".join([f"*k{n - 1}"] * 9 if n else ["x"] * 9) for n in range(9))
    return draw.one(
        [
            "!!python/object/apply:os.system ['true']",
            "a: !!python/name:tests.fuzzing.canary.sing",
            "a: !!python/module:tests.fuzzing.canary",
            f"a: !!python/object/new:{_CALLED} []",
            f"hydra: {{}}\nhydra: {{callbacks: {{c: {_call(draw)}}}}}",
            f"model: {{name: x}}\n---\nhydra: {{callbacks: {{c: {_call(draw)}}}}}",
            "1: a\ntrue: b\nnull: c\n1.5: d",
            "? [a, b]\n: e",
            "a: &a [*a]",
            "a: " + "[" * draw.one([60, 1000]),
            "\n".join(f"k{n}: &k{n} [{level}]" for n, level in enumerate(levels)),
            "a: '" + "x" * draw.one([10_000, (1 << 20) + 1]) + "'",
        ]
    )


def _encoded(draw: Draw, text: str) -> bytes:
    if draw.maybe(0.7):
        return text.encode(draw.one(_ENCODINGS), "replace")
    return text.encode() + draw.one([b"\0", b"\xff", b"\x1b[31m", b"\r", b"\xed\xa0\x80", b"\t"])
