"""python-socketio as a client of flowgate. python.test.mjs starts the server and hands over its address and tokens."""

import asyncio
import os
import queue
import unittest

import socketio

URL = os.environ["FLOWGATE_URL"]
ALICE = os.environ["TOKEN_ALICE"]
BOB = os.environ["TOKEN_BOB"]
CAROL = os.environ["TOKEN_CAROL"]
EXPIRED = os.environ["TOKEN_EXPIRED"]

# A fail-safe against a hang, far above what any answer here takes.
PATIENCE_S = 20

WAYS = {
    "polling only": ["polling"],
    "WebSocket only": ["websocket"],
    "the upgrade": ["polling", "websocket"],
}

CREATED = {"type": "task-created", "title": "buy milk 🥛"}
SENTINEL = {"type": "task-created", "title": "sentinel"}


# websocket-client would name the server itself as the Origin of the request, as if it were a page of it. flowgate
# judges every Origin that it is told, so a client that is no page had better send none.
NO_ORIGIN = {"suppress_origin": True}


def synchronous_client():
    return socketio.Client(reconnection=False, websocket_extra_options=NO_ORIGIN)


class SynchronousClient(unittest.TestCase):
    def connect(self, token, transports):
        """Returns an admitted client and the queue of the changes that it hears."""
        heard = queue.Queue()
        client = synchronous_client()
        client.on("database-changed", heard.put)
        self.addCleanup(client.disconnect)
        client.connect(
            URL,
            auth={"token": token},
            transports=transports,
            wait_timeout=PATIENCE_S,
        )
        return client, heard

    def test_team_hears_the_change_and_so_does_the_sender(self):
        for way, transports in WAYS.items():
            with self.subTest(way):
                alice, alice_heard = self.connect(ALICE, transports)
                _, bob_heard = self.connect(BOB, transports)
                self.assertEqual(alice.transport(), transports[-1])

                answer = alice.call("database-change", CREATED, timeout=PATIENCE_S)

                self.assertIs(answer["ok"], True)
                self.assertIsInstance(answer["id"], str)
                self.assertEqual(alice_heard.get(timeout=PATIENCE_S), CREATED)
                self.assertEqual(bob_heard.get(timeout=PATIENCE_S), CREATED)
                self.doCleanups()

    def test_another_team_hears_nothing(self):
        for way, transports in WAYS.items():
            with self.subTest(way):
                alice, _ = self.connect(ALICE, transports)
                carol, carol_heard = self.connect(CAROL, transports)

                alice.call("database-change", CREATED, timeout=PATIENCE_S)
                carol.call("database-change", SENTINEL, timeout=PATIENCE_S)

                self.assertEqual(carol_heard.get(timeout=PATIENCE_S), SENTINEL)
                self.assertTrue(carol_heard.empty())
                self.doCleanups()

    def test_refusal_has_its_code(self):
        refused = [
            ("unknown_type", "database-change", {"type": "no-such-type"}),
            ("unknown_field", "database-change", {**CREATED, "colour": "red"}),
            ("missing_field", "database-change", {"type": "task-updated"}),
            ("invalid_payload", "database-change", "text"),
            ("unknown_event", "no-such-event", CREATED),
        ]
        for way, transports in WAYS.items():
            alice, heard = self.connect(ALICE, transports)
            for code, event, payload in refused:
                with self.subTest(way, code=code):
                    answer = alice.call(event, payload, timeout=PATIENCE_S)
                    self.assertEqual(answer, {"ok": False, "code": code})
            alice.call("database-change", SENTINEL, timeout=PATIENCE_S)
            self.assertEqual(heard.get(timeout=PATIENCE_S), SENTINEL)

    def test_connect_is_refused(self):
        refused = [
            ("token_missing", None),
            ("token_invalid", {"token": "no token at all"}),
            ("token_expired", {"token": EXPIRED}),
        ]
        for way, transports in WAYS.items():
            for code, auth in refused:
                with self.subTest(way, code=code):
                    client = synchronous_client()
                    refusals = queue.Queue()
                    client.on("connect_error", refusals.put)
                    with self.assertRaises(socketio.exceptions.ConnectionError):
                        client.connect(
                            URL,
                            auth=auth,
                            transports=transports,
                            wait_timeout=PATIENCE_S,
                        )
                    refusal = refusals.get(timeout=PATIENCE_S)
                    self.assertEqual(refusal, {"message": code})


class AsynchronousClient(unittest.IsolatedAsyncioTestCase):
    async def test_change_is_heard_over_each_transport(self):
        for way, transports in WAYS.items():
            with self.subTest(way):
                heard = asyncio.Queue()
                client = socketio.AsyncClient(reconnection=False)
                client.on("database-changed", heard.put)
                await client.connect(
                    URL,
                    auth={"token": ALICE},
                    transports=transports,
                    wait_timeout=PATIENCE_S,
                )
                try:
                    answer = await client.call(
                        "database-change", CREATED, timeout=PATIENCE_S
                    )
                    self.assertIs(answer["ok"], True)
                    echo = await asyncio.wait_for(heard.get(), PATIENCE_S)
                    self.assertEqual(echo, CREATED)
                finally:
                    await client.disconnect()


if __name__ == "__main__":
    unittest.main()
