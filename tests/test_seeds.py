import time
from concurrent.futures import ThreadPoolExecutor

import torch

from unlearnable.seeds import borrowed_global_torch, derive, numpy_generator, torch_generator


def test_every_purpose_has_numbers_of_its_own():
    assert len({derive(seed, purpose) for seed in range(20) for purpose in ("train", "model/small_cnn")}) == 40


def test_numbers_are_those_of_every_process_and_day():
    assert derive(0, "train") == 2_225_127_660_497_744_019


def test_the_same_seed_and_purpose_draw_the_same():
    assert torch.equal(torch.rand(5, generator=torch_generator(1, "a")), torch.rand(5, generator=torch_generator(1, "a")))
    assert numpy_generator(1, "a").random() == numpy_generator(1, "a").random()
    assert numpy_generator(1, "a").random() != numpy_generator(2, "a").random()


def test_the_global_generator_is_put_back(global_generators_untouched):
    with borrowed_global_torch(0, "x"):
        first = torch.rand(3)
    with borrowed_global_torch(0, "x"):
        assert torch.equal(torch.rand(3), first)


def test_the_generators_of_gpus_are_left_alone(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with borrowed_global_torch(0, "x"):
        drawn = torch.rand(3)
    assert seeded == []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "x"))  # which has to be the same for the CPU, and tells the GPUs
        assert torch.equal(torch.rand(3), drawn)
    assert seeded == [derive(0, "x")]


def test_threads_borrow_the_global_generator_one_after_the_other():
    def drawn(seed):
        with borrowed_global_torch(seed, "x"):
            time.sleep(0.02)  # in which another would seed it
            return torch.rand(3)

    alone = [drawn(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert all(map(torch.equal, threads.map(drawn, range(4)), alone))
