"""What is shown of what may be secret."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.secrecy import looks_secret, open_target, open_text, open_value


class NameTests(SynchronousTestCase):
    """What is called like a secret."""

    def test_names(self) -> None:
        """Keys, tokens, cookies and passwords are told by their names; how many tokens there are is no secret."""
        for name in (
            "Authorization",
            "x-api-key",
            "apikey",
            "key",
            "X-Amz-Signature",
            "Set-Cookie",
            "hf_token",
            "PASSWORD",
        ):
            self.assertTrue(looks_secret(name), name)
        for name in ("idempotency-key", "max_tokens", "tokenizer", "keys", "monkey", "host"):
            self.assertFalse(looks_secret(name), name)


class ValueTests(SynchronousTestCase):
    """What is shown."""

    def test_addresses(self) -> None:
        """Nobody sees who signs in at an address, whatever the password has in it, nor a query that may be signed."""
        for text, shown in (
            ("https://me:pass@host/x@y", "https://***@host/x@y"),
            ("https://me:p@ss@host", "https://***@host"),
            ("cannot reach http://me:pass@host:1/x or ftp://t@h", "cannot reach http://***@host:1/x or ftp://***@h"),
            ("https://host/x?sig=abc", "https://host/x?***"),
            ("https://host/x", "https://host/x"),
            ("tcp://*:5557", "tcp://*:5557"),
            ("{{ 'is it http://host?' }} yes", "{{ 'is it http://host?' }} yes"),
            ("a@b", "a@b"),
        ):
            self.assertEqual(shown, open_text(text))

    def test_members(self) -> None:
        """Of a map those members are hidden that are called like secrets, at any depth; numbers are none."""
        self.assertEqual(
            {"a": [{"api-key": "***", "url": "http://***@h", "token": None}], "auth": "***", "first_token": [0.1, 2]},
            open_value(
                {
                    "a": [{"api-key": ["k"], "url": "http://u:p@h", "token": None}],
                    "auth": {"user": "me"},
                    "first_token": [0.1, 2],
                }
            ),
        )

    def test_host(self) -> None:
        """Who signs in at the host of a target is nobody's business."""
        self.assertEqual("http://***@host/x?a=1", open_target("http://me:pass@host/x?a=1"))
        self.assertEqual("/x?", open_target("/x?"))
