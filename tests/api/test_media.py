"""Images, sounds and films in prompts."""

import base64

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.media import hash_media, media_features
from vllmsim.inference import Media


class MediaTests(SynchronousTestCase):
    """Hashes and places."""

    def test_hashes(self) -> None:
        """An item has the hash that llm-d-inference-sim gives it, numbered among its kind."""
        media = [Media("image", "https://example.com/a.png"), Media("audio", "x"), Media("image", "y")]
        self.assertEqual(
            ["sim_img_0_b813296", "sim_audio_0_fd0c5087", "sim_img_1_fc0c4ef4"], [m.hash for m in hash_media(media)]
        )

    def test_long_data(self) -> None:
        """Megabytes of data are told apart too."""
        a, b = (hash_media([Media("image", "x" * 5_000_000 + end)])[0].hash for end in "ab")
        self.assertNotEqual(a, b)

    def test_places(self) -> None:
        """Items share the prompt evenly and stay inside it, however short it is."""
        media = [Media("image", "a"), Media("video", "b"), Media("image", "c")]
        features = media_features(media, 11)
        assert features is not None
        self.assertEqual([{"offset": 0, "length": 3}, {"offset": 6, "length": 3}], features["mm_placeholders"]["image"])
        self.assertEqual([{"offset": 3, "length": 3}], features["mm_placeholders"]["video"])
        [data] = features["kwargs_data"]["video"]
        self.assertEqual(features["mm_hashes"]["video"], [base64.b64decode(data).decode()])
        short = media_features(media, 1)
        assert short is not None
        self.assertEqual([{"offset": 0, "length": 1}] * 2, short["mm_placeholders"]["image"])

    def test_none(self) -> None:
        """A prompt without media has no features."""
        self.assertIsNone(media_features([], 5))
