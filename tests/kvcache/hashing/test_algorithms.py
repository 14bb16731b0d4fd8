"""How blocks are hashed."""

import hashlib
import pickle
import string
from random import Random
from typing import ClassVar

import cbor2
import xxhash
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.options.cache import HASH_ALGORITHMS
from vllmsim.kvcache.hashing.algorithms import BlockHash, Extra, apart, block_hash, fnv1a_64, number_of

FIRST = tuple(range(1, 17))
SECOND = tuple(range(17, 33))
ADAPTED: Extra = (("lora", "ad1", "/p"), ("cache_salt", "salty"))
PICTURED: Extra = (("mm", "idA", 3),)


def made(algorithm: str, seed: str = "") -> BlockHash:
    """Make an algorithm."""
    return block_hash(algorithm, seed, Random(1))


class VectorTests(SynchronousTestCase):
    """Hashes that vLLM's own functions made."""

    def check(self, algorithm: str, seed: str, root: str, *vectors: tuple[str, int | None]) -> None:
        """Compare the first parent, and the hashes of two blocks and of the first with extra keys."""
        hasher = made(algorithm, seed)
        self.assertEqual(root, hasher.root("m").hex())
        first = hasher.block(hasher.root("m"), FIRST, None)
        digests = [
            first,
            hasher.block(first, SECOND, None),
            hasher.block(hasher.root("m"), FIRST, ADAPTED),
            hasher.block(hasher.root("m"), FIRST, PICTURED),
        ]
        for digest, (expected, number) in zip(digests, vectors, strict=False):
            self.assertEqual(expected, digest.hex())
            self.assertEqual(number, number_of(digest))

    def test_sha256(self) -> None:
        """SHA-256 of a pickle, with the constant seed."""
        self.check(
            "sha256",
            "",
            "066b1e8987e027138e98701c46128929378935f9b6cd1549105ae6b4f0d71198",
            ("7b255da405e1d722823892e4fef187b4d8ac78215d7f0dd2137bb037547f4caf", 1403909460543360175),
            ("8e717becdc2054b7a3223b7b844f462c0db0ac86287b752b16d077ad0843c577", 1643945449041937783),
            ("ce290579fce6efb03d7b9b41491715873fae1b491bf69401b8ed76b2f1503a40", 13325437383383988800),
            ("e6813d73b6cf9ec32020587fae4bbc89fe5a96b2aadb0e5535a72e2d7c1e5ef4", 3866109578011631348),
        )

    def test_sha256_cbor(self) -> None:
        """SHA-256 of CBOR, with the constant seed."""
        self.check(
            "sha256_cbor",
            "",
            "9bd96a485ad84efdafb72ee48a1d7a69bcead0f8f0433173941b276b9581eef0",
            ("cd7c51bc5a8fc8643f383a2b9e01522fba7473c669e9270c7b0bf7bf7fd01682", 8866452693264111234),
            ("2533ea50426b36e9e4d68296cac6bce8cf602e46957d0fe40b368b33d87bf3bf", 807986237951177663),
            ("e56ef3f0c67da5fd0b5e74108aa73b2300ab332b5b7b87d7a00beada0b2ab705", 11532569493023405829),
            ("2765c7034a2c67f91a7777f32ae22cdaacb5f847d6117bde7728069078185937", 8586119907141769527),
        )

    def test_seeded_sha256(self) -> None:
        """SHA-256 of a pickle, with a seed."""
        self.check(
            "sha256",
            "0",
            "1973e23848344dc43a988a9b478663803cfffe1243480253f9a3cf004b14aa7c",
            ("bea72b7d33de03c1aa715efbb492d0e0d3801f00c1f985756896072ae8b31325", 7536218907325174565),
            ("2744667f6645310ff670b0c5d7c64987ffa5940de5a549f17d92dcbb5b559e31", 9048537298590080561),
        )

    def test_seeded_sha256_cbor(self) -> None:
        """SHA-256 of CBOR, with a seed, and with another."""
        self.check(
            "sha256_cbor",
            "0",
            "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e",
            ("202da172482d928bbc42ab25b0151e2b895f13f41002e27b2ceabcfae6d332ea", 3236607068019569386),
            ("4a0a393805c6d2f0ed831000d41bb65980336c4c04895d5e26470bbec927f5bf", 2758186210834249151),
        )
        self.check(
            "sha256_cbor",
            "42",
            "9fa6eb003f14425eb9c8e6baacfbcaab26257357b829c7bfa74ffcc4f31c1780",
            ("476e88fb0c175c0b4ef0343e158b5157c2ac537d37d97830e235fcc84bc5706d", 16300212363532267629),
        )

    def test_xxhash(self) -> None:
        """XXH3 of a pickle."""
        self.check(
            "xxhash",
            "0",
            "6fb31cc38bba6066183f7f2104b9c051",
            ("6ba7d7fc1608e5f0a4612b1b0c87458f", 11844795890135418255),
        )

    def test_xxhash_cbor(self) -> None:
        """XXH3 of CBOR."""
        self.check(
            "xxhash_cbor",
            "0",
            "1ebe36576dcb573f26b99533a20aaeca",
            ("c2d7a75070fc6d6b0c3fb0af456c1009", 882618318818381833),
            ("93add93233ea572fb2e2b1685bac6f8d", 12890060145260523405),
        )


class NumberTests(SynchronousTestCase):
    """Hashes of llm-d-inference-sim."""

    def numbers(self, seed: str, model: str, *blocks: tuple[tuple[int, ...], Extra]) -> list[int]:
        """Hash blocks that follow each other, the first parent before them."""
        hasher = made("fnv64_cbor", seed)
        digests = [hasher.root(model)]
        for ids, extra in blocks:
            digests.append(hasher.block(digests[-1], ids, extra))
        return [number_of(digest) for digest in digests]

    def test_vectors(self) -> None:
        """Seeds, models, sizes of blocks and media give the original's numbers."""
        first, second = (FIRST[:8], None), (FIRST[8:], None)
        self.assertEqual(
            [11374735546233341228, 3556222695259344277, 3413529535575050574], self.numbers("", "m", first, second)
        )
        self.assertEqual(
            [13673417957312747559, 15616400992895737263, 9839789027277261248], self.numbers("42", "m", first, second)
        )
        self.assertEqual(
            [13915405748417925534, 6192234647474011916], self.numbers("", "Qwen/Qwen2-0.5B", (tuple(range(16)), None))
        )
        tainted = (FIRST[8:], (("mm", "h1", -2),))
        self.assertEqual([3556222695259344277, 6362398442146593063], self.numbers("", "m", first, tainted)[1:])

    def test_fnv(self) -> None:
        """The seed's own hash is FNV-1a."""
        self.assertEqual(571532774284038691, fnv1a_64(b"42"))
        self.assertEqual(14695981039346656037, fnv1a_64(b""))

    def test_salts(self) -> None:
        """Salts separate, from each other and from media of the same name; places and paths of adapters do not."""
        keys: list[Extra] = [None, (("cache_salt", "a"),), (("cache_salt", "b"),), (("mm", "a", 0),)]
        keys += [(("mm", "a", 0), ("cache_salt", "a"))]
        self.assertEqual(5, len({self.numbers("", "m", (FIRST, each))[1] for each in keys}))
        same: list[Extra] = [(("lora", "ad", path), ("mm", "a", offset)) for path in "pq" for offset in (0, -3)]
        self.assertEqual(
            {self.numbers("", "m", (FIRST, keys[3]))[1]}, {self.numbers("", "m", (FIRST, e))[1] for e in same}
        )


class AlgorithmTests(SynchronousTestCase):
    """All algorithms."""

    sizes: ClassVar = {"sha256": 32, "sha256_cbor": 32, "xxhash": 16, "xxhash_cbor": 16, "fnv64_cbor": 8}

    def test_all(self) -> None:
        """Each that can be configured is there, and its hashes have their length and are numbers of 64 bits."""
        self.assertEqual(set(self.sizes), set(HASH_ALGORITHMS))
        for name in HASH_ALGORITHMS:
            digest = made(name).block(made(name, "s").root("m"), (0,), None)
            self.assertEqual(self.sizes[name], len(digest), name)
            self.assertEqual(int.from_bytes(digest, "big") % 2**64, number_of(digest), name)

    def test_seeds(self) -> None:
        """Without a seed, XXH3 has a random one, and only that; a word is a seed like any other."""
        for name in HASH_ALGORITHMS:
            roots = [block_hash(name, "", Random(seed)).root("m") for seed in (1, 1, 2)]
            self.assertEqual(roots[0], roots[1], name)
            self.assertEqual(name.startswith("xxhash"), roots[1] != roots[2], name)
            self.assertEqual(4, len({made(name, seed).root("m") for seed in ("", "0", "random", "\ud800")}), name)
        self.assertEqual(hashlib.sha256(pickle.dumps("random", 5)).digest(), made("sha256", "random").root("m"))

    def test_equal_to_the_libraries(self) -> None:
        """Whatever the block, its hash is that of the pickle or the canonical CBOR of the tuple."""
        draw = Random(7)
        for _ in range(200):
            ids = tuple(
                draw.randrange(2 ** draw.choice((4, 7, 8, 15, 16, 31, 32, 40)))
                for _ in range(draw.choice((1, 16, 300)))
            )
            words = ["".join(draw.choices(string.printable + "é☃𝄞", k=draw.randrange(80))) for _ in range(4)]
            keys = (("lora", *words[:2]), ("mm", words[2], draw.randrange(-(2**20), 2**20)), ("cache_salt", words[3]))
            extra = draw.choice((None, keys, keys[1:], keys[2:]))
            parent = draw.randbytes(draw.choice((8, 16, 32)))
            value = (parent, ids, extra)
            pickled, cbor = pickle.dumps(value, 5), cbor2.dumps(value, canonical=True)
            expected = {
                "sha256": hashlib.sha256(pickled).digest(),
                "sha256_cbor": hashlib.sha256(cbor).digest(),
                "xxhash": xxhash.xxh3_128_digest(pickled),
                "xxhash_cbor": xxhash.xxh3_128_digest(cbor),
            }
            self.assertEqual(expected, {name: made(name).block(parent, ids, extra) for name in expected})

    def test_copies(self) -> None:
        """Two texts that are equal are written as two, as they are in vLLM."""
        text = "a name"
        self.assertEqual(1, pickle.dumps((text, text), 5).count(b"a name"))
        self.assertEqual(2, pickle.dumps((apart(text), apart(text)), 5).count(b"a name"))
