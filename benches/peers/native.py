"""Contenders in shared libraries with the functions of native/peer.h, and the copies."""

import ctypes


class Timer:
    """The loop in C around a native call."""

    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        self.time_calls = self.library.time_calls
        self.time_calls.restype = ctypes.c_double
        self.time_calls.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]

    def call(self, function, state):
        address = ctypes.cast(function, ctypes.c_void_p).value
        return lambda calls: self.time_calls(address, state, calls)


class Native:
    def __init__(self, timer, name, library, prefix="peer_"):
        self.timer, self.name = timer, name
        self.library = ctypes.CDLL(library)
        self.open_call = getattr(self.library, prefix + "open")
        self.open_call.restype = ctypes.c_void_p
        self.run = getattr(self.library, prefix + "run")
        self.close = getattr(self.library, prefix + "close")
        self.store = getattr(self.library, prefix + "store", None)
        version = getattr(self.library, prefix + "version")
        version.restype = ctypes.c_char_p
        self.version = version().decode()

    def open(self, data):
        """A `Call`, or None where the peer does not offer the case."""
        problem = data.problem()
        state = self.open_call(ctypes.byref(problem))
        return NativeCall(self, data, problem, state) if state else None


class NativeCall:
    def __init__(self, peer, data, problem, state):
        self.peer, self.data, self.problem, self.state = peer, data, problem, state
        self.seconds = peer.timer.call(peer.run, state)

    def result(self):
        if self.peer.store:
            self.peer.store(ctypes.c_void_p(self.state))
        return self.data.y

    def close(self):
        self.peer.close(ctypes.c_void_p(self.state))


class Copy:
    """A copy of the same bytes, on as many threads."""

    def __init__(self, timer, streamed, data):
        self.problem = data.problem()
        function = timer.library.copy_streamed if streamed else timer.library.copy_plain
        self.seconds = timer.call(function, ctypes.addressof(self.problem))
