"""What is written down about a round."""

import itertools
import math
import struct
from collections.abc import Iterable
from typing import Any

from reference import rotated
from reference.arithmetic import SHARE_BITS, mask, pack, prime, share, unpack, word_size, words
from reference.protocol import (
    Format,
    Input,
    Integers,
    Parameters,
    Party,
    Rotated,
    Session,
    agree,
    kdf,
    u32,
    verify_key,
)

from .play import M, Message, Played

SERVER = "server"
LARGE = 32  # parties, above which only party 0 is described
DRAWS = ("channel_sk", "mask_seed", "self_seed", "coefficient_key", "rounding_key", "noise_key")


def f64(value: float) -> str:
    """The eight bytes of a double, little-endian."""
    return struct.pack("<d", value).hex()


def numbers(values: Iterable[int]) -> list[str]:
    """Integers as decimal strings: they may be above 2^53."""
    return [str(int(value)) for value in values]


def describe(run: Played) -> dict[str, Any]:
    """Everything about a round, as it stands in its file."""
    p, s, server = run.case.parameters, run.session, run.server
    u1, u2, u3, signers = (*run.sets, None, None, None, None)[:4]
    graph = [sorted(near) for near in s.graph()] if p.sparse else None
    described = range(p.cohort if p.cohort < LARGE else 1)
    known = {"h0": s.h0(), "h1": server.h1, "h2": server.h2, "h3": server.h3}
    return {
        "name": run.case.name,
        "note": run.case.note,
        "params": describe_parameters(p),
        "session": s.session.hex(),
        "context": s.context.hex(),
        "parties": [_party(run, u) for u in range(p.cohort)],
        "sets": {"u1": u1, "u2": u2, "u3": u3, "signers": signers},
        "transcript": {name: value.hex() or None for name, value in known.items()},
        **({} if graph is None else {"neighbours": graph}),
        "derived": [_derived(run, u) for u in described if u in (u1 or ())],
        "shares": _shares(run),
        "rejected": _rejected(run),
        "messages": [_message(one) for one in run.messages],
        "result": _result(run),
    }


def describe_parameters(p: Parameters) -> dict[str, Any]:
    """Parameters, their encoding, and what follows from them."""
    return {
        "suite": p.suite,
        "mode": p.mode,
        "cohort": p.cohort,
        "threshold": p.threshold,
        "min_survivors": p.min_survivors,
        "colluders": p.colluders,
        **({"degree": p.degree} if p.sparse else {}),
        "length": p.length,
        "format": _format(p.format),
        "quorum": p.quorum,
        "vector_length": p.vector_length,
        "field_bits": p.field_bits,
        "modulus": str(prime(p.field_bits)),
        "encoding": p.encode().hex(),
        "hash": kdf(b"", "params", p.encode()).hex(),
    }


def _format(form: Format) -> dict[str, Any]:
    if isinstance(form, Integers):
        return {"name": "integers", "low": str(form.low), "high": str(form.high)}
    if isinstance(form, Rotated):
        return {
            "name": "rotated",
            "clip": form.clip,
            "clip_f64": f64(form.clip),
            "scale": form.scale,
            "scale_f64": f64(form.scale),
            "bound": str(form.bound),
            "peak": form.peak,
            "tail": str(form.tail),
            "noise": form.noise,
            "variance": str(form.variance),
            "rotation": form.rotation,
            "slots": form.slots,
            "max_weight": form.max_weight,
        }
    return {
        "name": "fixed point",
        "clip": form.clip,
        "clip_f64": f64(form.clip),
        "bits": form.bits,
        "max_weight": form.max_weight,
    }


def describe_input(form: Format, given: Input) -> dict[str, Any]:
    """The input of a party; as decimals, too, if JSON has them."""
    values, weight = given
    if isinstance(form, Integers):
        return {"values": numbers(int(x) for x in values)}
    finite = {"decimal": list(values)} if all(map(math.isfinite, values)) else {}
    return {"values": [f64(x) for x in values], **finite, "weight": weight}


def _party(run: Played, u: int) -> dict[str, Any]:
    drawn = zip(DRAWS, run.tapes[u].drawn, strict=False)
    seed = run.identities[u] if run.identities else None
    return {
        "index": u,
        "identity_seed": seed.hex() if seed else None,
        "verify_key": verify_key(seed).hex() if seed else None,
        "random": [{"name": name, "bytes": data.hex()} for name, data in drawn],
        "input": describe_input(run.case.parameters.format, run.inputs[u]),
        "drops_before": run.case.drops.get(u),
    }


def _derived(run: Played, u: int) -> dict[str, Any]:
    """The values on the way, of a party that sent its keys; null where it did not come so far."""
    s, p, me = run.session, run.case.parameters, run.parties[u]
    found: dict[str, Any] = {
        "index": u,
        "mask_sk": me.mask_sk.hex(),
        "channel_pk": me.entry.channel_pk.hex(),
        "mask_pk": me.entry.mask_pk.hex(),
        "commitment": None,
        "self_key": None,
        "channel_keys": None,
        "pairwise_keys": None,
        **_rotated(run, u),
        "encoded": None,
        "masked": None,
    }
    if me.entries:
        found["commitment"] = kdf(me.self_seed, "self commitment", me.h1, u32(u)).hex()
        found["self_key"] = kdf(me.self_seed, "self mask", me.h1, u32(u)).hex()
        found["channel_keys"] = {str(v): _channel(me, v).hex() for v in me.entries if v != u}
    if me.encoded:
        y = run.message(M, u)[52 : 52 + (p.vector_length * p.field_bits + 7) // 8]
        found["pairwise_keys"] = {str(v): _pairwise(s, me, v).hex() for v in me.pairwise}
        found["encoded"] = numbers(me.encoded)
        found["masked"] = numbers(unpack(y, p.vector_length, p.field_bits))
    return found


def _rotated(run: Played, u: int) -> dict[str, Any]:
    """In format 3: what an input is rounded to, and the noise that is added."""
    s, p, keys = run.session, run.case.parameters, run.tapes[u].drawn[4:]
    f = p.format
    if not isinstance(f, Rotated):
        return {}
    names = ("rounded",) if f.noise == rotated.NONE else ("rounded", "noise")
    if not run.parties[u].encoded:
        return dict.fromkeys(names)
    found = [rotated.numbers(f, p.suite, s.session, run.inputs[u], keys[0])]
    found += [rotated.drawn_noise(f, p.suite, key, p.length) for key in keys[1:]]
    return {name: numbers(values) for name, values in zip(names, found, strict=True)}


def _channel(me: Party, v: int) -> bytes:
    """The key of the ciphertext from this party to v."""
    secret, mine, its = agree(me.channel_sk, me.entries[v][0]), me.entry[0], me.entries[v][0]
    return kdf(secret, "share channel", me.h1, u32(me.index), u32(v), mine, its)


def _pairwise(s: Session, me: Party, v: int) -> bytes:
    """s_uv."""
    lo, hi = sorted((me.index, v))
    keys = me.entries[lo].mask_pk, me.entries[hi].mask_pk
    secret = agree(me.mask_sk, me.entries[v].mask_pk)
    return kdf(secret, "pairwise mask", me.h1, u32(lo), u32(hi), *keys)


def _shares(run: Played) -> dict[str, Any] | None:
    """The polynomials and the shares of the first dealer."""
    p = run.case.parameters
    dealer = next((u for u, me in run.parties.items() if me.entries), None)
    if dealer is None:
        return None
    me, t = run.parties[dealer], p.threshold
    e = mask(p.suite, run.tapes[dealer].drawn[3], SHARE_BITS, 0, 6 * (t - 1))
    higher = [e[j * (t - 1) : (j + 1) * (t - 1)] for j in range(6)]
    points = [v + 1 for v in me.entries]
    of_mask = share(me.mask_seed, higher[:3], t, points)
    of_self = share(me.self_seed, higher[3:], t, points)
    return {
        "dealer": dealer,
        "coefficients": [numbers(polynomial) for polynomial in higher],
        "holders": {
            str(v): {
                "mask_seed": numbers(of_mask[v + 1]),
                "self_seed": numbers(of_self[v + 1]),
                "plaintext": b"".join(
                    pack(of[v + 1], SHARE_BITS) for of in (of_mask, of_self)
                ).hex(),
            }
            for v in me.entries
        },
    }


def _rejected(run: Played) -> list[dict[str, Any]]:
    """Elements of masks whose word of the stream at nonce 0 was not below p(b)."""
    p, found = run.case.parameters, list[dict[str, Any]]()
    keys = [([u], kdf(me.self_seed, "self mask", me.h1, u32(u))) for u, me in _masking(run)]
    keys += [
        ([u, v], _pairwise(run.session, run.parties[u], v))
        for (u, me), (v, _) in itertools.combinations(_masking(run), 2)
        if v in me.pairwise
    ]
    width, low = word_size(p.field_bits), (1 << p.field_bits) - 1
    for of, key in keys:
        first = words(p.suite, key, 0, width, 0, p.vector_length)
        at = [i for i, word in enumerate(first) if word & low >= prime(p.field_bits)]
        if at:
            again = [
                i
                for i in at
                if words(p.suite, key, i + 1, width, 0, 1)[0] & low >= prime(p.field_bits)
            ]
            twice = {"twice": again} if again else {}
            found.append({"mask_of": of, "key": key.hex(), "elements": at, **twice})
    return found


def _masking(run: Played) -> list[tuple[int, Party]]:
    return [(u, me) for u, me in run.parties.items() if me.encoded]


def _message(one: Message) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": one.type,
        "from": SERVER if one.sender is None else one.sender,
        "to": list(one.receivers) or SERVER,
        "bytes": one.data.hex(),
    }
    if one.delivered is not None:
        found["delivered"] = one.delivered.hex()
    return found


def _result(run: Played) -> dict[str, Any]:
    p = run.case.parameters
    if run.field_sum is None:
        return {"failed": run.failed}
    survivors = run.sets[2]
    total, mean = p.decode_sum(run.field_sum, len(survivors), run.session.session)
    found: dict[str, Any] = {"survivors": survivors, "field_sum": numbers(run.field_sum)}
    if mean is None:
        found["weight"] = str(len(survivors))
        found["total"] = numbers(int(x) for x in total)
        mean = [float(x) / float(len(survivors)) for x in total]
    else:
        found["weight"] = str(run.field_sum[-1] if p.weighted else len(survivors))
        found["total"] = [f64(x) for x in total]
        found["total_decimal"] = list(total)
    return {**found, "mean": [f64(x) for x in mean], "mean_decimal": mean}
