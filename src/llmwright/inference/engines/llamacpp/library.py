"""llama.cpp's C functions, called in the library that the package xllamacpp brings.

xllamacpp itself offers llama.cpp's HTTP server only, which samples and schedules for itself. Its
library exports the functions below that, so that texts are batched and sampled here as with every
other engine. Nothing is assumed of its build: settings are structs whose defaults the library
fills in, and `Library` refuses one whose defaults do not lie where they are looked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
from collections.abc import Iterator
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_void_p
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from llmwright.core.errors import ResourceError

PACKAGE = "xllamacpp"
# More than the largest struct has: what is beyond its end is never read.
STRUCT_BYTES = 256
# Of one value in a file's metadata; longer ones are cut.
MAX_METADATA_BYTES = 256
# Read by OpenMP once, when it is loaded.
AWAKE = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "1000000"}
Log = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


class Batch(ctypes.Structure):
    """``llama_batch``: tokens, each with its place, its texts and whether its logits are wanted."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class Settings(ctypes.Structure):
    """A struct of settings, known by the places of some of its numbers."""

    _fields_ = (("bytes", ctypes.c_ubyte * STRUCT_BYTES),)
    places: dict[str, tuple[int, Any, Any]] = {}

    def read(self, name: str) -> Any:
        """Return a setting."""
        offset, kind, _ = self.places[name]
        return kind.from_buffer(self, offset).value

    def write(self, **values: Any) -> None:
        """Change settings."""
        for name, value in values.items():
            offset, kind, _ = self.places[name]
            kind.from_buffer(self, offset).value = value


class ModelSettings(Settings):
    """``llama_model_params``: name → place, type, default."""

    places = {
        "n_gpu_layers": (16, c_int32, -1),
        "split_mode": (20, c_int32, 1),
        "load_mode": (28, c_int32, 1),
        "vocab_only": (72, c_bool, False),
        "check_tensors": (73, c_bool, False),
        "use_extra_bufts": (74, c_bool, True),
    }


class ContextSettings(Settings):
    """``llama_context_params``: name → place, type, default."""

    places = {
        "n_ctx": (0, c_int32, 512),
        "n_batch": (4, c_int32, 2048),
        "n_ubatch": (8, c_int32, 512),
        "n_seq_max": (12, c_int32, 1),
        "n_threads": (28, c_int32, 4),
        "n_threads_batch": (32, c_int32, 4),
        "rope_scaling_type": (40, c_int32, -1),
        "pooling_type": (44, c_int32, -1),
        "attention_type": (48, c_int32, -1),
        "flash_attn_type": (52, c_int32, -1),
        "yarn_ext_factor": (64, c_float, -1.0),
        "type_k": (104, c_int32, 1),
        "type_v": (108, c_int32, 1),
        "embeddings": (136, c_bool, False),
        "offload_kqv": (137, c_bool, True),
        "no_perf": (138, c_bool, True),
        "kv_unified": (141, c_bool, False),
    }


# Name → what it returns, what it takes.
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [Log, c_void_p]),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelSettings]),
    "llama_model_free": (None, [c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_model_n_ctx_train": (c_int32, [c_void_p]),
    "llama_model_n_embd": (c_int32, [c_void_p]),
    "llama_model_n_layer": (c_int32, [c_void_p]),
    "llama_model_n_head": (c_int32, [c_void_p]),
    "llama_model_n_head_kv": (c_int32, [c_void_p]),
    "llama_model_meta_val_str": (c_int32, [c_void_p, c_char_p, c_char_p, c_size_t]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_vocab_type": (c_int32, [c_void_p]),
    "llama_tokenize": (
        c_int32,
        [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool],
    ),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextSettings]),
    "llama_free": (None, [c_void_p]),
    "llama_n_ctx_seq": (c_int32, [c_void_p]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_memory_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
    "llama_batch_init": (Batch, [c_int32, c_int32, c_int32]),
    "llama_batch_free": (None, [Batch]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_get_embeddings_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_print_system_info": (c_char_p, []),
}


class Library:
    """The loaded library: each of `FUNCTIONS` is an attribute, without ``llama_``.

    Args:
        path: The shared library.
        version: Of the package it came with.

    Raises:
        ResourceError: It lacks a function, or its settings lie elsewhere (``INFER-041``).
    """

    def __init__(self, path: Path, version: str) -> None:
        self.version = version
        with threads_awake():
            loaded = ctypes.CDLL(str(path))
        for name, (returns, takes) in FUNCTIONS.items():
            function = getattr(loaded, name, None)
            if function is None:
                raise ResourceError("INFER-041", version=version, part=name)
            function.restype, function.argtypes = returns, takes
            setattr(self, name.removeprefix("llama_"), function)
        self._defaults: dict[type[Settings], Settings] = {
            kind: self._filled(loaded, name, kind)
            for name, kind in (
                ("llama_model_default_params", ModelSettings),
                ("llama_context_default_params", ContextSettings),
            )
        }
        # Kept: the library calls it for as long as it lives.
        self._log = Log(lambda level, text, data: None)
        self.log_set(self._log, None)
        self.backend_init()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def _filled(self, loaded: ctypes.CDLL, name: str, kind: type[Settings]) -> Settings:
        # A struct as large as these comes back in memory that the caller names first.
        made = kind()
        function = getattr(loaded, name)
        function.restype, function.argtypes = None, [c_void_p]
        function(ctypes.addressof(made))
        for field, (_, _, default) in kind.places.items():
            if made.read(field) != default:
                raise ResourceError("INFER-041", version=self.version, part=f"{name}.{field}")
        return made

    def metadata(self, model: int, key: str) -> str | None:
        """Return what a loaded file says under a short key; None where it does not say it."""
        found = ctypes.create_string_buffer(MAX_METADATA_BYTES)
        length = self.model_meta_val_str(model, key.encode(), found, len(found))
        return found.value.decode("utf-8", "replace") if length >= 0 else None

    def settings(self, kind: type[Settings], **values: Any) -> Settings:
        """Return the library's own settings with some of them changed."""
        made = kind.from_buffer_copy(self._defaults[kind])
        made.write(**values)
        return made


@contextlib.contextmanager
def threads_awake() -> Iterator[None]:
    """Let OpenMP, if it is loaded meanwhile, keep its threads awake for a millisecond or so.

    The products of one token are so short that threads which sleep between them take twice as long;
    idle ones still sleep. What the user set holds.
    """
    before = dict(os.environ)
    if "OMP_WAIT_POLICY" not in before:
        os.environ.update(AWAKE)
    try:
        yield
    finally:
        for name in AWAKE:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@cache
def library() -> Library:
    """Return the library of the installed package, loaded once.

    Raises:
        ResourceError: It is not installed (``INFER-040``), or is one we do not know
            (``INFER-041``).
    """
    found = importlib.util.find_spec(PACKAGE)
    folders = found.submodule_search_locations if found else None
    files = [file for folder in folders or [] for file in Path(folder).glob(f"{PACKAGE}.*")]
    shared = [file for file in files if file.suffix in (".so", ".pyd", ".dylib")]
    if not shared:
        raise ResourceError("INFER-040", package=PACKAGE)
    return Library(shared[0], metadata.version(PACKAGE))
