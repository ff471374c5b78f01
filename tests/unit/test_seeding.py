"""Seeds for each purpose, stable across processes and versions."""

import hashlib

import pytest
import torch

from sweeps.seeding import derive, generator


def test_a_seed_is_63_bits_of_sha256() -> None:
    digest = hashlib.sha256(b"7/order/2/3").digest()
    assert derive(7, "order", 2, 3) == int.from_bytes(digest[:8], "big") >> 1


@pytest.mark.parametrize("seed", [-1, 0, 1, 2**63])
def test_a_seed_fits_63_bits(seed: int) -> None:
    assert all(0 <= derive(seed, "order", part) < 2**63 for part in range(100))


def test_purposes_seeds_and_parts_all_count() -> None:
    seen = {
        derive(0, "init"),
        derive(1, "init"),
        derive(0, "order"),
        derive(0, "init", 0),
        derive(0, "init", 1),
        derive(0, "init", 0, 1),
        derive(0, "init", 1, 0),
        derive(0, "init", 10),
    }
    assert len(seen) == 8


def test_equal_generators_draw_equal_numbers() -> None:
    first, again, other = generator(3, "x", 1), generator(3, "x", 1), generator(3, "x", 2)
    assert first.device == torch.device("cpu")
    assert first.initial_seed() == derive(3, "x", 1)
    drawn = torch.rand(8, generator=first)
    assert torch.equal(drawn, torch.rand(8, generator=again))
    assert not torch.equal(drawn, torch.rand(8, generator=other))


def test_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.random.get_rng_state()
    torch.rand(8, generator=generator(3, "x"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_seeds_differ_by_purpose() -> None:
    assert (
        len({derive(0, "init"), derive(0, "order"), derive(1, "init"), derive(0, "init", 1)}) == 4
    )
    assert generator(3, "x").initial_seed() == generator(3, "x").initial_seed()
