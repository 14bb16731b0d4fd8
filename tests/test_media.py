"""Images, sounds and films in prompts."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Media, Span
from vllmsim.media import media_hashes, place_media, source_of


class MediaTests(SynchronousTestCase):
    """Hashes and places."""

    def test_hashes(self) -> None:
        """An item has the hash that llm-d-inference-sim gives it, numbered among its kind."""
        media = [Media("image", "https://example.com/a.png"), Media("audio", "x"), Media("image", "y")]
        self.assertEqual(["sim_img_0_b813296", "sim_audio_0_fd0c5087", "sim_img_1_fc0c4ef4"], list(media_hashes(media)))

    def test_sources(self) -> None:
        """The same source has the same name wherever it is in a prompt; what a client has named keeps its name."""
        media = [Media("image", "a"), Media("image", "a"), Media("audio", "a")]
        first, second, sound = map(source_of, media_hashes(media))
        self.assertEqual(first, second)
        self.assertNotEqual(first, sound)
        self.assertEqual("sim_img_x_1", source_of("sim_img_x_1"))

    def test_long_data(self) -> None:
        """Megabytes of data are told apart too."""
        a, b = (next(media_hashes([Media("image", "x" * 5_000_000 + end)])) for end in "ab")
        self.assertNotEqual(a, b)

    def test_places(self) -> None:
        """Items share the prompt evenly and stay inside it, however short it is."""
        media = [Media("image", "a"), Media("video", "b"), Media("image", "c")]
        places = (Span("x", 0, 3, "image"), Span("y", 3, 3, "video"), Span("z", 6, 3, "image"))
        self.assertEqual(places, place_media(media, "xyz", 11))
        short = (Span("x", 0, 1, "image"), Span("y", 1, 1, "video"), Span("z", 1, 1, "image"))
        self.assertEqual(short, place_media(media, "xyz", 2))

    def test_none(self) -> None:
        """Without media there are no places, and neither are there without tokens."""
        self.assertEqual(((), ()), (place_media([], [], 5), place_media([Media("image", "a")], "x", 0)))
