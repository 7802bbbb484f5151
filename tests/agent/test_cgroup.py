"""A process's cgroup names its holder: paths as real machines write them, of every kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_agent.holders.cgroup import Holder, holder_of, paths_of

POD = "3f4c7c9e-8a54-4b0b-9d8e-0f5d6b1e2a77"
POD_ = POD.replace("-", "_")
CONTAINER = "7b9f0c1de2a34f5b8c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3"

TABLE = {
    # Slurm, cgroup v1
    "/slurm/uid_1001/job_4711/step_0/task_0": ("slurm_job", "4711"),
    "/slurm/uid_0/job_4711/step_batch": ("slurm_job", "4711"),
    "/slurm_gpu-a017/uid_1001/job_55786247/step_extern/task_0": ("slurm_job", "55786247"),
    # Slurm, cgroup v2: old and new, several slurmd on one host, by SLUID
    "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0": ("slurm_job", "4711"),
    "/system.slice/gpu-a017_slurmstepd.scope/job_12/step_batch/user/task_special": ("slurm_job", "12"),
    "/slurm.slice/slurmstepd.scope/job_9/step_extern": ("slurm_job", "9"),
    "/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0/user/task_0": ("slurm_job", "s5K1KKYAYG5D00"),
    "/system.slice/slurmstepd.scope/system": ("systemd_unit", "slurmstepd.scope"),
    "/system.slice/slurmd.service": ("systemd_unit", "slurmd.service"),
    # a container inside a job, a job inside a pod
    f"/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0/libpod-{CONTAINER}.scope": ("slurm_job", "4711"),
    f"/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{CONTAINER}.scope/system.slice/slurmstepd.scope/job_3/x":
        ("slurm_job", "3"),
    # Kubernetes: systemd and cgroupfs drivers, classes, runtimes
    f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice/cri-containerd-{CONTAINER}.scope":
        ("kubernetes_pod", POD),
    f"/kubepods.slice/kubepods-pod{POD_}.slice/crio-{CONTAINER}.scope/container": ("kubernetes_pod", POD),
    f"/kubepods/besteffort/pod{POD}/{CONTAINER}": ("kubernetes_pod", POD),
    f"/kubepods/pod{POD}/{CONTAINER}": ("kubernetes_pod", POD),
    f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/docker-{CONTAINER}.scope":
        ("kubernetes_pod", POD),
    f"/system.slice/containerd.service/kubepods-burstable-pod{POD_}.slice:cri-containerd:{CONTAINER}":
        ("kubernetes_pod", POD),
    f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD_}.slice/cri-containerd-{CONTAINER}.scope":
        ("kubernetes_pod", POD),
    f"/kubepods/burstable/pod{POD.replace('-', '')}/{CONTAINER}": ("kubernetes_pod", POD.replace("-", "")),
    f"/docker/{CONTAINER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD_}.slice/x":
        ("kubernetes_pod", POD),
    # as seen from inside another pod's cgroup namespace
    f"/../../kubepods-burstable-pod{POD_}.slice/cri-containerd-{CONTAINER}.scope": ("kubernetes_pod", POD),
    f"/../cri-containerd-{CONTAINER}.scope": ("container", CONTAINER),
    # containers of their own
    f"/docker/{CONTAINER}": ("container", CONTAINER),
    f"/system.slice/docker-{CONTAINER}.scope": ("container", CONTAINER),
    f"/machine.slice/libpod-{CONTAINER}.scope": ("container", CONTAINER),
    f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{CONTAINER}.scope/container":
        ("container", CONTAINER),
    f"/default/{CONTAINER}": ("container", CONTAINER),
    f"/system.slice/nerdctl-{CONTAINER}.scope": ("container", CONTAINER),
    "/lxc.payload.notebook7/system.slice/cron.service": ("container", "notebook7"),
    "/lxc/notebook7": ("container", "notebook7"),
    "/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/libvirt/emulator": ("container", "qemu-3-vm1"),
    # sessions and units
    "/user.slice/user-1000.slice/session-4.scope": ("user_session", "1000"),
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope":
        ("user_session", "1000"),
    "/system.slice/nvidia-persistenced.service": ("systemd_unit", "nvidia-persistenced.service"),
    "/system.slice/system-jupyter.slice/jupyter@alice.service": ("systemd_unit", "jupyter@alice.service"),
    "/init.scope": ("systemd_unit", "init.scope"),
    # what names nobody
    "/": ("unknown", None),
    "/my/own/group": ("unknown", None),
    "/slurmish/job_5": ("unknown", None),
    "/system.slice/slurmstepd.scope/sNOTASLUID": ("systemd_unit", "slurmstepd.scope"),
    "/kubepods/burstable/podnotauid": ("unknown", None),
}  # fmt: skip


@pytest.mark.parametrize("path", TABLE)
def test_a_cgroup_v2_path_names_its_holder(path: str) -> None:
    holder, told = holder_of(paths_of(f"0::{path}\n"))
    assert (holder.kind, holder.id) == TABLE[path]
    assert told == (None if path == "/" else path)


def test_of_v1_controllers_the_one_that_names_a_job_counts_also_beside_a_unified_path() -> None:
    text = (
        "12:devices:/slurm/uid_1001/job_4711/step_0/task_0\n"
        "11:memory:/system.slice/slurmd.service\n"
        "4:cpu,cpuacct:/\n"
        "1:name=systemd:/system.slice/slurmd.service\n"
        "0::/system.slice/slurmd.service\n"
    )
    assert holder_of(paths_of(text)) == (
        Holder("slurm_job", "4711"),
        "/slurm/uid_1001/job_4711/step_0/task_0",
    )


def test_a_colon_in_a_path_stays_in_it() -> None:
    assert paths_of("1:name=systemd:/a:b:c\nnonsense\n3:x:\n") == ["/a:b:c"]


@given(st.lists(st.text(max_size=200), max_size=5))
def test_no_path_breaks_it(paths: list[str]) -> None:
    holder, told = holder_of(paths)
    assert holder.id is None or 0 < len(holder.id) <= 200
    assert told is None or told in paths
