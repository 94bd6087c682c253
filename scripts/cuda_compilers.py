"""CUDA's compilers from PyPI: NVRTC and ptxas, at the versions of ptx-requirements.txt."""

import ctypes
import pathlib
import re
import subprocess
import sys
import sysconfig

NVRTC_VERSION = (12, 2)


def packages():
    return pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia"


def find(pattern):
    found = sorted(packages().glob(pattern))
    if not found:
        sys.exit(f"{pattern} is not under {packages()}: pip install -r scripts/ptx-requirements.txt")
    return found[0]


class Nvrtc:
    """The few calls of NVRTC that compile one file."""

    def __init__(self):
        self.lib = ctypes.CDLL(str(find("cuda_nvrtc/lib/libnvrtc.so.12")))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        if (major.value, minor.value) != NVRTC_VERSION:
            sys.exit(f"NVRTC is {major.value}.{minor.value}, pinned is {NVRTC_VERSION}")

    def text(self, call, program):
        size = ctypes.c_size_t()
        getattr(self.lib, f"nvrtcGet{call}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.lib, f"nvrtcGet{call}")(program, buffer)
        return buffer.value.decode()

    def compile(self, source, arch, include, *options):
        """The PTX of a file for an architecture, with includes from a folder."""
        program = ctypes.c_void_p()
        self.lib.nvrtcCreateProgram(
            ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None
        )
        options = [
            f"--gpu-architecture=compute_{arch}",
            f"--include-path={include}",
            "--std=c++17",
            *options,
        ]
        encoded = [option.encode() for option in options]
        status = self.lib.nvrtcCompileProgram(
            program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded)
        )
        log = self.text("ProgramLog", program).strip()
        if status != 0 or log:
            sys.exit(f"{source.name} for compute_{arch}:\n{log}")
        return strip(self.text("PTX", program))


def strip(ptx):
    """Without comments, empty lines and indentation: a third of the size, and no build numbers."""
    ptx = re.sub(r"//[^\n]*", "", ptx)
    lines = (re.sub(r"\s+", " ", line.strip()) for line in ptx.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def ptxas(path, arch):
    """Assembles a file of PTX; gives what became of the process."""
    command = [str(find("cu13/bin/ptxas")), "-v", f"-arch={arch}", "-o", "/dev/null", str(path)]
    return subprocess.run(command, capture_output=True, text=True)
