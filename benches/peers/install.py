"""Fetches the peers from the registries, at fixed versions, and builds what must be built. Nothing
is installed outside the work folder, and what is there already is kept."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
XNNPACK = "xnnpack=0.0~git20241108.4ea82e5-2"  # source of Debian 13
XNNPACK_KERNELS = [
    "f32-vtanh/gen/f32-vtanh-avx512f-rational-9-8-div.c",
    "f32-vtanh/gen/f32-vtanh-avx512f-rational-9-8-nr.c",
    "f16-vtanh/gen/f16-vtanh-fma3-polynomial-p19h9t2-u32.c",
    "f32-vbinary/gen/f32-vmulc-avx512f-u32.c",
    "f32-vbinary/gen/f32-vmul-avx512f-u32.c",
    "f32-vbinary/gen/f32-vadd-avx512f-u32.c",
]
GGML = "llama-cpp-python==0.3.36"  # carries ggml's source
C_FLAGS = ["-Wall", "-Wextra", "-shared", "-fPIC", "-march=native"]


class Install:
    """`libraries` and `interpreters` say where to find each peer that could be had, `missing` why
    another could not."""

    def __init__(self, work, torch, onednn_source):
        self.work, self.onednn_source = work.resolve(), onednn_source and onednn_source.resolve()
        self.libraries, self.interpreters, self.missing = {}, {}, {}
        (self.work / "lib").mkdir(parents=True, exist_ok=True)
        self.venv = self.make_venv("venv", "requirements.txt")
        self.libraries["timer"] = [self.compile("timer", ["timer.c"], ["-O2", "-fopenmp"]), ""]
        self.dynorm()
        for name in ("numpy", "onnxruntime", "jax"):
            self.interpreters[name] = self.venv / "bin/python"
        steps = {
            "compiler": self.compiler, "rten-vecmath": self.rust, "sleef": self.sleef,
            "xnnpack": self.xnnpack, "ggml": self.ggml, "onednn": self.onednn,
        }  # fmt: skip
        if torch:
            steps["torch"] = self.torch
        for name, step in steps.items():
            try:
                step()
            except (OSError, subprocess.CalledProcessError, KeyError, StopIteration) as error:
                self.missing[name] = f"{type(error).__name__}: {error}"

    def run(self, *command, **more):
        print("+", *command, file=sys.stderr)
        subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr, **more)

    def make_venv(self, name, requirements):
        venv = self.work / name
        if not (venv / "bin/python").exists():
            self.run(sys.executable, "-m", "venv", venv)
        self.run(venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / requirements)
        return venv

    def compile(self, name, sources, flags, libraries=()):
        output = self.work / "lib" / f"{name}.so"
        sources = [source if Path(source).is_absolute() else HERE / "native" / source for source in sources]
        self.run("gcc", *C_FLAGS, *flags, "-I", HERE / "native", *sources, *libraries, "-o", output)
        return str(output)

    def cargo(self, *arguments, flags=""):
        target = self.work / ("cargo-native" if flags else "cargo")
        self.run("cargo", *arguments, env={**os.environ, "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(target)})
        return target / "release"

    def dynorm(self):
        """As anybody would build it: for the processor's generic form."""
        arguments = ["--locked", "--release", "--features", "capi", "--crate-type", "cdylib", "-p", "dynorm", "--lib"]
        manifest = ["--manifest-path", REPOSITORY / "Cargo.toml"]
        folder = self.cargo("rustc", *arguments, *manifest)
        library = self.compile(
            "dynorm", ["dynorm.c"], ["-O2", "-fopenmp", "-I", REPOSITORY / "include"],
            ["-L", folder, "-ldynorm", f"-Wl,-rpath,{folder}"],
        )  # fmt: skip
        self.libraries |= {
            "dynorm": [library, "serial_"],
            "dynorm-rayon": [library, "rayon_"],
            "dynorm-openmp": [library, "openmp_"],
        }

    def compiler(self):
        self.libraries["compiler"] = [
            self.compile("compiler", ["compiler.c"], ["-Ofast", "-fopenmp"], ["-lmvec", "-lm"]), "peer_",
        ]  # fmt: skip

    def rust(self):
        manifest = HERE / "rust/Cargo.toml"
        folder = self.cargo("build", "--locked", "--release", "--manifest-path", manifest, flags="-C target-cpu=native")
        library = str(folder / "libdynorm_peers.so")
        self.libraries |= {"rten-vecmath": [library, "rten_"], "candle": [library, "candle_"]}

    def debian(self, *packages):
        """Unpacks packages of this system's release, without installing them."""
        folder = self.work / "debian"
        folder.mkdir(exist_ok=True)
        self.run("apt-get", "download", *packages, cwd=folder)
        for file in folder.glob("*.deb"):
            self.run("dpkg", "-x", file, folder)
        return folder

    def sleef(self):
        library = next(self.debian("libsleef3").rglob("libsleef.so.3"))
        self.libraries["sleef"] = [
            self.compile("sleef", ["sleef.c"], ["-O2"], [library, f"-Wl,-rpath,{library.parent}"]), "peer_",
        ]  # fmt: skip

    def debian_source(self, package, suite):
        """The original source of a package of another release, by an apt configuration of its own."""
        name = package.split("=")[0]
        folder = self.work / name
        if folder.exists():
            return folder
        apt = self.work / "apt"
        for part in ("lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True, exist_ok=True)
        key = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (apt / "sources.list").write_text(f"deb-src [signed-by={key}] http://deb.debian.org/debian {suite} main\n")
        options = {
            "Dir::Etc::sourcelist": apt / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": apt / "lists", "Dir::Cache": apt / "cache",
        }  # fmt: skip
        options = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self.run("apt-get", *options, "update", "--quiet")
        self.run("apt-get", *options, "source", "--quiet", "--download-only", "--tar-only", package, cwd=apt)
        with tarfile.open(next(apt.glob(f"{name}_*.orig.tar.*"))) as archive:
            archive.extractall(folder, filter="data")
        return folder

    def xnnpack(self):
        source = self.debian_source(XNNPACK, "trixie")
        headers = self.debian("libpthreadpool-dev") / "usr/include"
        kernels = [source / "src" / kernel for kernel in XNNPACK_KERNELS]
        includes = ["-I", source / "src", "-I", source / "include", "-I", headers]
        flags = ["-O2", "-DNDEBUG", "-DXNN_ENABLE_AVX512F=1", "-Wno-unused-parameter", *includes]
        self.libraries["xnnpack"] = [self.compile("xnnpack", ["xnnpack.c", *kernels], flags), "peer_"]

    def cmake(self, source, build, *options):
        path = f"{self.venv / 'bin'}:{os.environ['PATH']}"
        self.run("cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *options,
                 env={**os.environ, "PATH": path})  # fmt: skip
        self.run("cmake", "--build", build, env={**os.environ, "PATH": path})

    def ggml(self):
        source = self.work / "ggml"
        if not source.exists():
            path = f"{self.venv / 'bin'}:{os.environ['PATH']}"
            self.run(self.venv / "bin/pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                     "--no-build-isolation", "--dest", self.work / "sdist", GGML,
                     env={**os.environ, "PATH": path})  # fmt: skip
            with tarfile.open(next((self.work / "sdist").glob("llama_cpp_python-*.tar.gz"))) as archive:
                members = []
                for member in archive:
                    _, found, path = member.name.partition("/vendor/llama.cpp/ggml/")
                    if found:
                        member.name = path
                        members.append(member)
                archive.extractall(source, members, filter="data")
            (source / "ggml.pc.in").touch()  # left out of the sdist
        build = self.work / "ggml-build"
        self.cmake(source, build, "-DGGML_NATIVE=ON", "-DGGML_OPENMP=OFF", "-DBUILD_SHARED_LIBS=ON",
                   "-DGGML_BUILD_TESTS=OFF", "-DGGML_BUILD_EXAMPLES=OFF")  # fmt: skip
        folder = build / "src"
        libraries = ["-L", folder, "-lggml-cpu", "-lggml-base", f"-Wl,-rpath,{folder}"]
        self.libraries["ggml"] = [self.compile("ggml", ["ggml.c"], ["-O2", "-I", source / "include"], libraries), "peer_"]

    def onednn(self):
        """Built from the given source, else the last wheel that runs on OpenMP, which has no RMSNorm: later
        wheels run on SYCL, whose queue costs more than the work."""
        folder, includes = self.venv / "lib", ["-I", self.venv / "include"]
        if self.onednn_source:
            build = self.work / "onednn-build"
            self.cmake(self.onednn_source, build, "-DDNNL_CPU_RUNTIME=OMP", "-DDNNL_BUILD_TESTS=OFF",
                       "-DDNNL_BUILD_EXAMPLES=OFF", "-DONEDNN_BUILD_GRAPH=OFF", "-DDNNL_ENABLE_WORKLOAD=INFERENCE",
                       "-DDNNL_ENABLE_PRIMITIVE=LAYER_NORMALIZATION;ELTWISE;REORDER")  # fmt: skip
            folder = build / "src"
            includes = ["-I", self.onednn_source / "include", "-I", build / "include"]
        libraries = ["-L", folder, "-ldnnl", f"-Wl,-rpath,{folder}"]
        self.libraries["onednn"] = [self.compile("onednn", ["onednn.c"], ["-O2", "-fopenmp", *includes], libraries), "peer_"]

    def torch(self):
        venv = self.make_venv("torch-venv", "requirements-torch.txt")
        for name in ("torch-eager", "torch-compile"):
            self.interpreters[name] = venv / "bin/python"
