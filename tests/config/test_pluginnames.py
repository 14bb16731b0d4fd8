"""How plugins are called."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.pluginnames import PluginName, is_plugin_name


class PluginNameTests(SynchronousTestCase):
    """Names."""

    def test_names(self) -> None:
        """A name begins with a letter, and is short."""
        for name in ("a", "A-b_c.d9", "x" * 64):
            self.assertTrue(is_plugin_name(name))
        for wrong in ("", "9a", "a b", "a/b", "-a", "ä", "a\n", "x" * 65, None, 7):
            self.assertFalse(is_plugin_name(wrong))

    def test_kind(self) -> None:
        """An option takes names of ours and of others."""
        kind = PluginName(("", "ours"))
        self.assertEqual(["", "ours", "others"], [kind.from_text(text) for text in ("", "ours", "others")])
        self.assertEqual('"", ours, or the name of a plugin', kind.allowed)
        self.assertEqual("the name of a plugin", PluginName().allowed)
        self.assertRaises(ValueError, kind.from_text, "a b")
        self.assertRaises(ValueError, kind.from_value, 7)
