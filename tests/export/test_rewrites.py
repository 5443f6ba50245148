"""A rewrite is in place within its block, and nowhere else."""

from __future__ import annotations

import inspect
import sys

import pytest
from torch import nn

from deploy.export.rewrites import apply_rewrites
from deploy.rewrite import RewriteError, rewrite


def add_ten(original, *args, **kwargs):
    return original(*args, **kwargs) + 10


def refused(target, message, replacement=add_ten):
    with (
        pytest.raises(RewriteError, match=message),
        apply_rewrites(None, [rewrite(target)(replacement)]),
    ):
        pytest.fail("a wrong target was taken")


def test_a_function_of_a_module_gets_the_original(third_party_module):
    before = dict(vars(third_party_module))
    with apply_rewrites(None, [rewrite("theirs.code.double")(add_ten)]):
        assert third_party_module.double(1) == 12
        assert third_party_module.double.__doc__ == "Theirs."
    assert third_party_module.double(1) == 2
    assert dict(vars(third_party_module)) == before
    assert list(vars(third_party_module)) == list(before)


def test_a_method_gets_the_original_unbound_and_keeps_its_signature(third_party_module):
    def method(original, self, x, *, scale=1):
        assert inspect.isfunction(original)
        return type(self).__name__, original(self, x, scale=scale + 1)

    thing, before = third_party_module.Thing(), dict(vars(third_party_module.Thing))
    with apply_rewrites(None, [rewrite("theirs.code.Thing.method")(method)]):
        assert thing.method(2, scale=3) == ("Thing", 8)
        assert list(inspect.signature(thing.method).parameters) == ["x", "scale"]
    assert thing.method(2, scale=3) == 6
    assert all(vars(third_party_module.Thing)[name] is value for name, value in before.items())
    assert list(vars(third_party_module.Thing)) == list(before)


def test_a_static_method_stays_one(third_party_module):
    raw = vars(third_party_module.Thing)["static"]
    with apply_rewrites(None, [rewrite("theirs.code.Thing.static")(add_ten)]):
        assert third_party_module.Thing.static(1) == third_party_module.Thing().static(1) == 10
    assert vars(third_party_module.Thing)["static"] is raw


def test_a_class_method_stays_one_and_its_original_takes_the_class(third_party_module):
    def make(original, cls, x):
        return ("new", *original(cls, x))

    class Mine(third_party_module.Thing):
        pass

    raw = vars(third_party_module.Thing)["make"]
    with apply_rewrites(None, [rewrite("theirs.code.Thing.make")(make)]):
        assert (
            third_party_module.Thing.make(1)
            == third_party_module.Thing().make(1)
            == ("new", "Thing", 1)
        )
        assert Mine.make(1) == ("new", "Mine", 1)
    assert vars(third_party_module.Thing)["make"] is raw


def test_an_inherited_method_is_put_on_the_class_alone_and_removed_again(third_party_module):
    with apply_rewrites(None, [rewrite("theirs.code.Thing.inherited")(add_ten)]):
        assert third_party_module.Thing().inherited(1) == 12
        assert third_party_module.Base().inherited(1) == 2
    assert "inherited" not in vars(third_party_module.Thing)
    assert third_party_module.Thing().inherited(1) == 2


def test_a_builtin_of_a_class_is_not_bound():
    class Mine:
        build = len

    sys.modules[__name__].Mine = Mine
    try:
        with apply_rewrites(None, [rewrite(f"{__name__}:Mine.build")(add_ten)]):
            assert Mine().build([1]) == 11
    finally:
        del sys.modules[__name__].Mine
    assert vars(Mine)["build"] is len


def test_a_module_and_a_function_of_one_name_are_told_apart(third_party_module):
    with apply_rewrites(None, [rewrite("theirs.code")(add_ten)]):
        assert sys.modules["theirs"].code(1) == 12
        assert third_party_module.double(1) == 2
    with apply_rewrites(None, [rewrite("theirs.code.double")(add_ten)]):
        assert third_party_module.double(1) == 12
        assert sys.modules["theirs"].code(1) == 2


@pytest.mark.parametrize("target", ["theirs.code:Thing.method", "theirs.code.Thing.method"])
def test_both_spellings_find_the_target(third_party_module, target):
    with apply_rewrites(None, [rewrite(target)(add_ten)]):
        assert third_party_module.Thing().method(1) == 11


def test_blocks_nest_and_end_one_by_one(third_party_module):
    def triple(original, x):
        return original(x) * 3

    outer, inner = rewrite("theirs.code.double")(add_ten), rewrite("theirs.code.double")(triple)
    with apply_rewrites(None, [outer]):
        with apply_rewrites(None, [inner]):
            assert third_party_module.double(1) == 36
        assert third_party_module.double(1) == 12
    assert third_party_module.double(1) == 2


def test_an_error_in_the_block_restores_everything_and_comes_out(third_party_module):
    rewrites = [rewrite(f"theirs.code.{name}")(add_ten) for name in ("double", "Thing.inherited")]
    before = third_party_module.double
    with pytest.raises(ZeroDivisionError), apply_rewrites(None, rewrites):
        raise ZeroDivisionError
    assert third_party_module.double is before
    assert "inherited" not in vars(third_party_module.Thing)


def test_an_unknown_name_is_refused_with_the_nearest_ones(third_party_module):
    refused("theirs.code.duoble", r"theirs\.code has no 'duoble'\. Did you mean double")
    refused("theirs.code.Thing.metod", r"Thing has no 'metod'\. Did you mean method\?")
    refused("theirs.cod.double", r"theirs has no 'cod'\. Did you mean code\?")
    refused("theirs.code:Thnig.method", r"no 'Thnig'\. Did you mean Thing\?")
    refused("theirs.code.zzzzzz", r"no 'zzzzzz'\. Check the name, or narrow `when`")


def test_a_package_that_is_not_installed_says_what_to_do():
    refused("nowhere.code.f", r"module 'nowhere' cannot be imported.*say in `when`")
    refused("nowhere.code:f", r"module 'nowhere' cannot be imported.*say in `when`")


def test_a_module_that_fails_to_import_is_refused_with_its_cause(third_party_module, tmp_path):
    (tmp_path / "theirs" / "broken.py").write_text("import no_such_library")
    refused("theirs.broken.f", r"module 'theirs.broken' cannot be imported: .*no_such_library")


def test_what_is_no_function_is_refused(third_party_module):
    refused("theirs.code.LIMIT", "expected a function, a method or a module class, got int")
    refused("theirs.code.Thing.table", "got dict")
    refused("theirs.code.Thing.size", r"got a property\. Rewrite a method that it calls")
    refused("theirs.code.Thing", r"got another class\. Rewrite one of its methods")
    refused("theirs.code.double.x", "expected double to be a class or module, got function")


def test_a_class_that_is_fixed_is_refused():
    refused("builtins.dict.get", r"got dict, which is immutable: cannot set 'get'")


def test_one_wrong_target_leaves_all_as_they_were(third_party_module):
    before, good = third_party_module.double, rewrite("theirs.code.double")(add_ten)
    for wrong, message in (
        ("theirs.code.nothing", "no 'nothing'"),
        ("builtins.dict.get", "immutable"),
    ):
        bad = rewrite(wrong)(add_ten)
        with pytest.raises(RewriteError, match=message), apply_rewrites(None, [good, bad]):
            pytest.fail("a wrong target was taken")
        assert third_party_module.double is before


def test_two_rewrites_of_one_target_in_one_block_are_refused():
    one, two = rewrite("torch.nn.GELU")(nn.Identity), rewrite("torch.nn.modules.GELU")(add_ten)
    with pytest.raises(RewriteError, match=r"got .*Identity and .*add_ten\. Choose one, or nest"):
        apply_rewrites(None, [one, two]).__enter__()
