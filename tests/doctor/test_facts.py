"""What `embsweep doctor` prints of simulated machines: each fact, its width, and no traceback for what is missing."""

import shutil
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from embsweep.cli.commands import app
from embsweep.core.gpus import Accelerator, TorchView
from embsweep.doctor import facts, gpu_facts, run
from embsweep.doctor.verdicts import WIDTH, Fact, Verdict, format_fact, format_verdict
from tests.doctor.machines import GIB, OLD_DRIVER, Card, simulate_gpus

EIGHT = [Card(free=(78 - index) * GIB) for index in range(8)]


@pytest.fixture
def doctor(monkeypatch, tmp_path):
    """Run the command; steps are replaced by verdicts that say which ones were chosen."""
    monkeypatch.setattr(
        run, "iterate_verdicts", lambda steps: [Verdict(step.name, True, "replaced", 1.0) for step in steps]
    )

    def invoke(*arguments):
        return CliRunner().invoke(app, ["doctor", "--storage", str(tmp_path), *arguments], catch_exceptions=False)

    return invoke


def read_fact(output, label):
    """Return the text of one fact, its lines joined."""
    lines = output.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(label))
    own = [lines[start][len(label) :]]
    for line in lines[start + 1 :]:
        if not line.startswith("  "):
            break
        own.append(line)
    return " ".join(" ".join(own).split())


def test_without_a_gpu_it_names_the_steps_and_succeeds(doctor):
    result = doctor()
    assert result.exit_code == 0
    assert read_fact(result.output, "torch sees") == "0 GPUs"
    assert "1 views, 2 precision, 3 evaluation, 9 assert; with --all" in " ".join(result.output.split())
    assert "replaced" not in result.output


def test_eight_cards_of_one_kind_are_one_line(doctor):
    with simulate_gpus(EIGHT):
        result = doctor()
    assert result.exit_code == 0
    assert read_fact(result.output, "driver") == "580.65.06, supports CUDA up to 13.0"
    assert read_fact(result.output, "GPUs").startswith("8 × NVIDIA H100 80GB HBM3 (9.0, 80.0 GiB): ≥ 71.0 GiB free")
    assert read_fact(result.output, "torch sees") == "8 GPUs, the driver 8"
    assert read_fact(result.output, "auto means").startswith("NVIDIA H100 80GB HBM3: precision bf16")
    assert result.output.count("replaced") == 4, "the quick steps"


def test_all_steps_run_on_request(doctor):
    with simulate_gpus(EIGHT[:1]):
        result = doctor("--all")
    assert result.output.count("replaced") == len(run.STEPS) == 11


def test_kinds_and_compute_modes_are_told_apart(doctor):
    with simulate_gpus([Card(), Card("Tesla T4", (7, 5), 15 * GIB, 14 * GIB, 3)]):
        output = doctor().output
    assert "1 × Tesla T4 (7.5, 15.0 GiB): 14.0 GiB free, compute mode exclusive process" in output
    assert "Tesla T4: precision fp32" in output


def test_a_failed_step_is_exit_code_1(doctor, monkeypatch):
    monkeypatch.setattr(run, "iterate_verdicts", lambda _: [Verdict("2 precision", False, "1e-3", 1.0)])
    with simulate_gpus(EIGHT):
        result = doctor()
    assert result.exit_code == 1
    assert "Failed: 2 precision" in result.output


def test_a_driver_older_than_the_wheel_is_a_problem_with_advice(doctor):
    with simulate_gpus(EIGHT, **OLD_DRIVER):
        result = doctor()
    assert result.exit_code == 1
    problem = read_fact(result.output, "PROBLEM")
    assert problem.startswith("the driver sees 8 GPUs")
    assert "too old" in problem
    advice = read_fact(result.output, "what to do")
    for expected in (
        "driver 535.54.03 supports CUDA up to 12.2",
        "update the driver (580 or later)",
        "wheel for CUDA 12",
    ):
        assert expected in advice
    assert "replaced" not in result.output, "no step runs on GPUs that torch cannot use"


def test_a_wheel_without_cuda_beside_a_gpu_is_a_problem(doctor):
    with simulate_gpus(EIGHT[:1], view=TorchView("2.13.0+cpu", None)):
        result = doctor()
    assert result.exit_code == 1
    assert "built without CUDA" in read_fact(result.output, "what to do")


def test_hidden_cards_are_said(doctor, set_env):
    with simulate_gpus(EIGHT, view=TorchView("2.13.0+cu130", "13.0", gpus=(EIGHT[0].to_accelerator(),))):
        set_env(CUDA_VISIBLE_DEVICES="3")
        output = doctor().output
    assert read_fact(output, "torch sees") == "1 GPU, the driver 8, CUDA_VISIBLE_DEVICES leaves 1 visible"
    assert read_fact(output, "environment").startswith("CUDA_VISIBLE_DEVICES=3")


@pytest.mark.parametrize("machine", [{"cards": []}, {"cards": EIGHT}, {"cards": EIGHT, **OLD_DRIVER}])
def test_no_line_is_wider_than_100_columns(doctor, machine):
    with simulate_gpus(**machine):
        output = doctor("--all").output
    lines = [line for line in output.splitlines() if "MLflow store" not in line and "sqlite:" not in line]
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= 40


def test_without_nvml_torch_alone_is_asked(monkeypatch):
    def refuse():
        raise ModuleNotFoundError("No module named 'pynvml'")

    monkeypatch.setattr(gpu_facts, "read_driver", refuse)
    assert gpu_facts.view_gpus().driver is None


def test_without_torch_there_is_no_traceback(doctor, monkeypatch):
    monkeypatch.setattr(run, "view_gpus", lambda: gpu_facts.GpuViews(None, None, problem="cannot be imported (why)"))
    result = doctor()
    assert result.exit_code == 1
    assert read_fact(result.output, "torch") == "cannot be imported (why)"
    assert "No step was run: torch cannot be imported." in result.output


def test_choices_without_pydantic_are_not_known(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "embsweep.doctor.material", None)
    assert "not known" in gpu_facts.describe_choices(Accelerator())


def write_system(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "not known"),
        ({"proc/meminfo": MEMINFO}, "8.0 GiB available, 16.0 GiB in all"),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max"}, "8.0 GiB available, 16.0 GiB in all"),
        ({"sys/fs/cgroup/memory.max": str(4 * GIB)}, "the control group allows 4.0 GiB"),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": str(4 * GIB)}, "the control group allows 4.0 GiB"),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}, "not known"),
    ],
)
def test_memory_and_its_limit(tmp_path, files, expected):
    write_system(tmp_path, files)
    assert {fact.label: fact.text for fact in facts.read_machine(tmp_path, tmp_path)}["memory"] == expected


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, "1.5"),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, "2"),
    ],
)
def test_processors_and_their_limit(tmp_path, files, limit):
    write_system(tmp_path, files)
    text = {fact.label: fact.text for fact in facts.read_machine(tmp_path, tmp_path)}["CPUs"]
    assert text.endswith(f"allows the time of {limit}" if limit else "usable")


@pytest.mark.parametrize(
    ("total", "starts", "has_remedy"),
    [(None, "absent", True), (64 * 2**20, "64 MiB free of 64 MiB", True), (8 * GIB, "8.0 GiB free of 8.0 GiB", False)],
)
def test_small_or_absent_shared_memory(tmp_path, monkeypatch, total, starts, has_remedy):
    if total is not None:
        (tmp_path / "dev/shm").mkdir(parents=True)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=total, used=0, free=total))
    text = {fact.label: fact.text for fact in facts.read_machine(tmp_path, tmp_path)}["/dev/shm"]
    assert text.startswith(starts)
    assert ("docker run --shm-size" in text) is has_remedy


def test_a_storage_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    text = {fact.label: fact.text for fact in facts.read_machine(tmp_path / "absent" / "folder")}["disk"]
    assert "NOT writable" in text


def test_missing_packages_are_said(monkeypatch):
    def refuse(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(facts, "version", refuse)
    assert all(fact.text.count("not installed") == len(fact.text.split(",")) for fact in facts.read_packages())


def test_only_known_variables_are_shown_and_secrets_are_masked():
    environ = {"HF_TOKEN": "hf_secret", "NCCL_DEBUG": "INFO", "NCCL_COMM": "https://ann:hunter2@host", "OMP_NUM": "3"}
    texts = [fact.text for fact in facts.read_variables(environ)]
    assert texts == ["NCCL_COMM=https://***@host", "NCCL_DEBUG=INFO"]
    assert facts.read_variables({}) is not None


@pytest.mark.parametrize("text", ["", "short", "long words " * 30, "two\nlines", "x" * 150])
def test_facts_and_verdicts_are_aligned(text):
    for lines in (format_fact(Fact("label", text)), format_verdict(Verdict("name", True, text))):
        first, *others = lines.splitlines()
        assert first.split()[0] in ("label", "name")
        assert all(line.startswith(" " * 14) for line in others)
