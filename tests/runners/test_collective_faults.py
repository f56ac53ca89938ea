"""Errors of NCCL and gloo: faults of the set-up with what to do, and connections that broke."""

import pytest

from embsweep.runners.ray.collective_faults import explain_setup_fault, find_first_words, is_connection_lost

NCCL = "DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268, "
SYSTEM = (
    f"{NCCL}unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5 | ncclSystemError: "
    "System call (e.g. socket, malloc) or external library call failed or device error. | Last error: | "
)
CUDA = f"{NCCL}unhandled cuda error | ncclUnhandledCudaError: Call to CUDA function failed. | Last error: | "

SETUP_FAULTS = {
    f"{NCCL}invalid usage | ncclInvalidUsage: This usually reflects invalid usage of NCCL library. | Last error: | "
    "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 50000": "fewer trials per GPU",
    f"{SYSTEM}Error while creating shared memory segment /dev/shm/nccl-LeXlEJ (size 9637888)": "--shm-size",
    f"{NCCL}internal error | ncclInternalError: Internal check failed. | Last error: | "
    "Bootstrap : no socket interface found": "NCCL_SOCKET_IFNAME",
    f"{CUDA}Cuda failure 'out of memory'": "a smaller train.batch_size",
    f"{CUDA}Cuda failure 'CUDA driver version is insufficient for CUDA runtime version'": "embsweep doctor",
    f"{NCCL}invalid argument | ncclInvalidArgument: Invalid value for an argument.": "NCCL_DEBUG",
    "ran out of GPU memory. Possible fixes: fewer trials (DistBackendError: NCCL error)": "fewer trials",
}

CONNECTIONS = [
    f"{NCCL}remote process exited or there was a network error | ncclRemoteError: A call failed possibly due to a "
    "network error or a remote process exiting prematurely. | Last error: | Connection closed by remote peer node1",
    f"{SYSTEM}Call to connect to 10.0.0.2<45763> failed : Software caused connection abort",
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:31",
    "RuntimeError: [gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 3600000ms for recv operation",
    "DistNetworkError: The client socket has timed out after 60000ms while trying to connect to (10.0.0.2, 4711).",
    "DistBackendError: [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=8, OpType=ALLREDUCE)",
]

OTHERS = [
    "RuntimeError: shape '[2]' is invalid",
    "AcceleratorError: CUDA error: an illegal memory access was encountered",
    f"{CUDA}Cuda failure 'an illegal memory access was encountered'",
    "ran out of GPU memory. Possible fixes, best first: a smaller train.batch_size (OutOfMemoryError: CUDA)",
]


@pytest.mark.parametrize("reason", SETUP_FAULTS)
def test_a_fault_of_the_set_up_keeps_its_words_and_says_what_to_do(reason):
    explained = explain_setup_fault(reason)
    assert SETUP_FAULTS[reason] in explained
    assert reason.rpartition(" | ")[2] in explained
    assert not is_connection_lost(reason)


@pytest.mark.parametrize("reason", CONNECTIONS)
def test_a_lost_connection_is_worth_another_attempt(reason):
    assert is_connection_lost(reason)
    assert explain_setup_fault(reason) is None


@pytest.mark.parametrize("reason", OTHERS)
def test_other_errors_are_neither(reason):
    assert not is_connection_lost(reason)
    assert explain_setup_fault(reason) is None


def test_first_words_are_those_of_the_library_that_failed():
    assert find_first_words(CONNECTIONS[1]).startswith("ncclSystemError: System call")
    assert find_first_words("RuntimeError: [gloo] closed | more") == "RuntimeError: [gloo] closed"
