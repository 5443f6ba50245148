"""Rewrites are written, found and chosen; nothing is changed by that."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import itertools

import pytest
import torch

import deploy.rewrite
from deploy.export.rewrites import applicable_rewrites, apply_rewrites, collect_rewrites
from deploy.rewrite import Rewrite, RewriteError, rewrite

_numbers = itertools.count()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module that can be imported, and give its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source):
        name = f"rewrites_of_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(f"from deploy.rewrite import rewrite\n{source}")
        return name

    return write


def of(target="torch.relu", name="f", **limits):
    def function(original, x):
        return original(x)

    function.__qualname__ = name
    return rewrite(target, **limits)(function)


def test_a_rewrite_is_its_replacement_with_a_target_and_limits():
    @rewrite("torch.relu", backend="ncnn", when=["torch>=2", "numpy"])
    def relu(original, x):
        return original(x) + 1

    assert dataclasses.astuple(relu)[0] == "torch.relu"
    assert relu.backends == ("ncnn",)
    assert relu.when == ("torch>=2", "numpy")
    assert relu(lambda x: x, 2) == 3
    assert torch.equal(torch.relu(torch.ones(1)), torch.ones(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        relu.target = "torch.tanh"


def test_without_limits_a_rewrite_is_for_any_backend_and_any_version():
    assert (of().backends, of().when) == ((), ())
    assert of(backend=["ncnn", "tensorrt"]).backends == ("ncnn", "tensorrt")


def test_a_rewrite_is_called_by_where_it_is_written():
    assert str(of(name="Here.f")) == f"{__name__}.Here.f"


@pytest.mark.parametrize(
    "target", ["", "relu", "torch.", ".relu", "torch relu", "a:b:c", "a.b:", "torch.2d", "a-b.c"]
)
def test_a_target_that_names_nothing_is_refused_where_it_is_written(target):
    with pytest.raises(RewriteError, match=r"target of a rewrite: expected package\.module\.name"):
        rewrite(target)


def test_a_target_may_have_a_colon_after_its_module():
    assert of("torch:relu").target == "torch:relu"
    assert of("torch.nn:GELU.forward").target == "torch.nn:GELU.forward"


@pytest.mark.parametrize("when", ["transformers>=", "", "transformers 4", ["torch", ">=2"]])
def test_a_requirement_that_cannot_be_read_is_refused_where_it_is_written(when):
    with pytest.raises(RewriteError, match=r"`when` of the .* 'torch.relu': expected such as some"):
        rewrite("torch.relu", when=when)


@pytest.mark.parametrize("when", ["torch[opt]", "torch @ http://x/y.whl", "torch; os_name>'a'"])
def test_a_requirement_is_a_name_and_its_versions_alone(when):
    with pytest.raises(RewriteError, match=r"expected a name and its versions alone, got .torch"):
        rewrite("torch.relu", when=when)


def test_a_rewrite_has_one_target():
    with pytest.raises(RewriteError, match=r"'torch.tanh': expected a function .* got Rewrite"):
        rewrite("torch.tanh")(of())


def test_what_cannot_be_called_is_no_rewrite():
    with pytest.raises(RewriteError, match="expected a function below @rewrite, got int"):
        rewrite("torch.relu")(3)


def test_rewrites_are_collected_in_the_order_of_their_definition_and_once(write):
    one = write("b = rewrite('torch.b')(lambda o: 0)\na = rewrite('torch.a')(lambda o: 0)\nc = b")
    two = write(f"from {one} import a\nd = rewrite('torch.d')(lambda o: 0)\nRewrite = 3")
    found = collect_rewrites([one, two])
    assert [rewrite.target for rewrite in found] == ["torch.b", "torch.a", "torch.d"]
    assert all(type(rewrite) is Rewrite for rewrite in found)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(RewriteError, match=r"'no\.such\.thing' cannot be imported: No module"):
        collect_rewrites(["no.such.thing"])


def test_a_module_whose_own_import_fails_is_named_with_the_cause(write):
    name = write("import no_such_library")
    with pytest.raises(RewriteError, match=f"'{name}' cannot be .* 'no_such_library'") as caught:
        collect_rewrites([name])
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(RewriteError, match="cannot be imported: invalid syntax"):
        collect_rewrites([write("def")])


@pytest.mark.parametrize("name", ["", ".rewrites", "my/rewrites.py"])
def test_a_module_is_named_with_dots(name):
    with pytest.raises(RewriteError, match=r"module of rewrites: expected package\.module, got"):
        collect_rewrites([name])


def test_a_module_without_a_rewrite_is_named(write):
    name = write("")
    with pytest.raises(RewriteError, match=f"module '{name}': expected at least one rewrite, got"):
        collect_rewrites([name])


def test_a_rewrite_that_another_decorator_hides_is_refused(write):
    name = write(
        "from deploy.mark import mark\n"
        "@mark('m')\n@rewrite('torch.relu')\ndef relu(original, x):\n    return x\n"
    )
    with pytest.raises(RewriteError, match=r"\.relu lies below another .* Write @rewrite above"):
        collect_rewrites([name])


def test_a_backend_that_is_not_in_use_rules_a_rewrite_out():
    general, special, other = of(), of("torch.tanh", backend="a"), of("torch.exp", backend="b")
    assert applicable_rewrites([general, special, other], ["a"]) == (general, special)
    assert applicable_rewrites([general, special, other], []) == (general,)


def test_a_rewrite_for_several_backends_applies_where_one_of_them_is_in_use():
    several = of(backend=["a", "b"])
    assert applicable_rewrites([several], {"b", "c"}) == (several,)


def test_a_rewrite_that_names_the_backend_beats_a_general_one_in_any_order_and_spelling():
    general, special = of("torch:relu"), of("torch.relu", backend="a")
    assert applicable_rewrites([general, special], ["a"]) == (special,)
    assert applicable_rewrites([special, general], ["a"]) == (special,)
    assert applicable_rewrites([special, general], ["b"]) == (general,)


def test_every_requirement_must_be_installed():
    ok, old = of(when="torch>=2"), of("torch.tanh", when=["torch>=2", "numpy<1"])
    assert applicable_rewrites([ok, old], []) == (ok,)


def test_without_the_distribution_a_rewrite_does_not_apply_and_its_target_need_not_exist():
    assert applicable_rewrites([of("nowhere.f", when="no-such-distribution")], []) == ()


def test_an_installed_pre_release_counts(monkeypatch):
    monkeypatch.setattr("deploy.export.rewrites.version", lambda name: "5.0.0.dev0")
    assert len(applicable_rewrites([of(when="transformers>=4,<6")], [])) == 1


def test_two_that_apply_alike_are_both_named():
    one, two = of(name="one", backend="a"), of(name="two", backend=["a", "b"])
    with pytest.raises(
        RewriteError,
        match=r"'torch.relu': expected one that applies with backend a, "
        rf"got {__name__}\.one and {__name__}\.two\. Narrow the `backend` or `when`",
    ):
        applicable_rewrites([one, two], ["a"])
    assert applicable_rewrites([one, two], ["b"]) == (two,)
    with pytest.raises(RewriteError, match="with backend none"):
        applicable_rewrites([of(name="one"), of(name="two")], [])


def test_versions_that_exclude_each_other_are_no_conflict():
    old, new = of(name="old", when="torch<2"), of(name="new", when="torch>=2")
    assert applicable_rewrites([old, new], []) == (new,)


def test_the_same_rewrite_twice_is_one():
    one = of()
    assert applicable_rewrites([one, one], []) == (one,)


@pytest.mark.parametrize("name", deploy.rewrite.__all__)
def test_every_public_name_has_an_example_that_runs(name):
    (example, *_) = doctest.DocTestFinder(recurse=False).find(
        vars(deploy.rewrite)[name], globs=dict(vars(deploy.rewrite))
    )
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("chosen", applicable_rewrites),
        ("collect", collect_rewrites),
        ("rewriting", apply_rewrites),
    ],
)
def test_a_former_name_still_works_and_warns(old, new):
    with pytest.warns(DeprecationWarning, match=f"deploy.rewrite.{old} .* import {new.__name__}"):
        assert getattr(importlib.import_module("deploy.rewrite"), old) is new


def test_a_name_that_never_was_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'deploy\.rewrite' has no attribute 'choose'"):
        importlib.import_module("deploy.rewrite").choose  # noqa: B018
