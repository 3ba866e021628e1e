"""The emulator finds what it is there to find."""

import numpy as np
import pytest

ORDERS = ("forward", "reverse", "shuffled")
NONE, NO_BARRIER, OUT_OF_BOUNDS, UNWRITTEN, DIVERGENT, DEADLOCK, WRONG_LANE = range(7)
VALUES = [float(i % 7) for i in range(1000)]


@pytest.mark.parametrize("order", ORDERS)
def test_right_kernel_gives_the_right_sum(emulator, order):
    for seed in range(3):
        emulator.configure(order=order, seed=seed)
        assert emulator.block_sum(VALUES, NONE) == sum(VALUES)


def test_missing_barrier_changes_the_sum(emulator):
    sums = []
    for order in ORDERS:
        emulator.configure(order=order, seed=1)
        sums.append(emulator.block_sum(VALUES, NO_BARRIER))
    assert any(s != sum(VALUES) for s in sums)


def test_unwritten_shared_memory_is_nan(emulator):
    emulator.configure()
    assert np.isnan(emulator.block_sum(VALUES, UNWRITTEN))


def test_divergent_barrier_names_both_lines(emulator):
    emulator.configure()
    with pytest.raises(RuntimeError, match=r"divergent __syncthreads at lines \d+ and \d+"):
        emulator.block_sum(VALUES, DIVERGENT)
    assert emulator.block_sum(VALUES, NONE) == sum(VALUES), "the emulator must survive an error"


def test_deadlock_counts_the_waiting(emulator):
    emulator.configure()
    message = r"deadlock: 111 threads wait at __syncthreads \(line \d+\), 17 threads wait at __syncwarp \(line \d+\)"
    with pytest.raises(RuntimeError, match=message):
        emulator.block_sum(VALUES, DEADLOCK)


def test_lane_outside_its_mask(emulator):
    emulator.configure()
    with pytest.raises(RuntimeError, match=r"__shfl_down_sync at line .*lane 16 is not in its own mask"):
        emulator.block_sum(VALUES, WRONG_LANE)


@pytest.mark.parametrize(("stride", "conflicts"), [(1, 0), (2, 1), (3, 0), (4, 3), (32, 31), (33, 0)])
def test_bank_conflicts_are_counted(emulator, stride, conflicts):
    emulator.configure(count=True)
    assert emulator.count_strided(stride) == 32
    counts = emulator.counts()
    assert counts["shared_conflicts"] == conflicts
    assert counts["global_read_bytes"] == 32 * stride * 4 == counts["global_read_sectors"] * 32
    assert counts["global_written_sectors"] == 4 and counts["barriers"] == 1 and counts["warp_operations"] == 1
    assert counts["shared_bytes"] == counts["shared_touched"] == 32 * stride * 4


def test_number_formats_round_like_torch(emulator):
    torch = pytest.importorskip("torch")
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    specials = [0.0, -0.0, np.inf, -np.inf, 65504.0, 65519.9, 65520.0, 6e-8, 2.9e-8, 2.98023223e-8, 1e-45, 6.1e-5]
    near = np.random.default_rng(1).normal(size=4000).astype(np.float32) * np.float32(1e-5)
    values = np.concatenate([bits.view(np.float32), near, np.array(specials, dtype=np.float32)])
    values = values[~np.isnan(values)]
    for name in ("float16", "bfloat16"):
        expected = torch.from_numpy(values).to(getattr(torch, name))
        codes = expected.view(torch.int16).numpy().view(np.uint16)
        got = np.array([emulator.round_to(name, float(v)) for v in values], dtype=np.uint16)
        assert (got == codes).all()
        back = np.array([emulator.widen_from(name, int(c)) for c in codes], dtype=np.float32)
        assert (back == expected.float().numpy()).all()
        assert np.isnan(emulator.widen_from(name, emulator.round_to(name, float("nan"))))


# ---- the sanitizer programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_sanitizers_pass_the_right_kernel(sanitized, sanitizer):
    done = sanitized(sanitizer, "none")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_thread_sanitizer_finds_the_missing_barrier(sanitized):
    done = sanitized("thread", "no-barrier")
    assert done.returncode == 66 and "data race" in done.stderr and "self_test.cuh" in done.stderr


def test_address_sanitizer_finds_the_index_out_of_bounds(sanitized):
    done = sanitized("address", "out-of-bounds")
    assert done.returncode == 67 and "heap-buffer-overflow" in done.stderr and "self_test.cuh" in done.stderr


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernels", ["filter", "fused", "bank"])
def test_kernels_are_clean(sanitized, sanitizer, order, kernels):
    done = sanitized(sanitizer, kernels, order)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
