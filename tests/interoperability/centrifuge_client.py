"""Uses the service with Centrifugo's client for Python as a test tells it: a command as JSON on each line in, a reply as
JSON on each line out. The commands and replies are those of centrifuge.js.

Usage: centrifuge_client.py URL
"""

import asyncio
import json
import sys

from centrifuge import Client, ClientEventHandler, FilterNode, ReplyError, StreamPosition, SubscriptionEventHandler

events = asyncio.Queue()


def tell(event, **members):
    events.put_nowait({"event": event, **members})


def message(publication):
    return {"data": publication.data, "offset": publication.offset, "tags": publication.tags or {}}


class ClientEvents(ClientEventHandler):
    async def on_connecting(self, ctx):
        tell("connecting", code=ctx.code)

    async def on_connected(self, ctx):
        tell("connected")

    async def on_disconnected(self, ctx):
        tell("disconnected", code=ctx.code)


class SubscriptionEvents(SubscriptionEventHandler):
    async def on_subscribing(self, ctx):
        tell("subscribing", code=ctx.code)

    async def on_subscribed(self, ctx):
        position = ctx.stream_position
        position = position and {"offset": position.offset, "epoch": position.epoch}
        tell("subscribed", was_recovering=ctx.was_recovering, recovered=ctx.recovered, position=position)

    async def on_unsubscribed(self, ctx):
        tell("unsubscribed", code=ctx.code)

    async def on_error(self, ctx):
        tell("error", code=getattr(ctx.error, "code", ctx.code))

    async def on_publication(self, ctx):
        tell("publication", **message(ctx.pub))


class Commands:
    def __init__(self, url):
        self.url = url
        self.client = None
        self.tokens = asyncio.Queue()

    async def connect(self, token=None):
        async def get_token():
            tell("token")
            return await self.tokens.get()

        with_tokens = {"token": token, "get_token": get_token} if token else {}
        self.client = Client(
            self.url, events=ClientEvents(), min_reconnect_delay=0.01, max_reconnect_delay=0.1, proxy=None, **with_tokens
        )
        await self.client.connect()
        return {}

    async def token(self, token):
        """Gives the client the token that it asked for."""
        self.tokens.put_nowait(token)
        return {}

    async def subscribe(self, channel, data=None, filter=None):
        subscription = self.client.new_subscription(
            channel,
            events=SubscriptionEvents(),
            data=data,
            tags_filter=filter and FilterNode(filter),
            min_resubscribe_delay=0.01,
            max_resubscribe_delay=0.1,
        )
        await subscription.subscribe()
        return {}

    async def event(self):
        return await events.get()

    async def publish(self, channel, data):
        await self.client.publish(channel, data)
        return {}

    async def history(self, channel, since=None, **options):
        since = since and StreamPosition(**since)
        history = await self.client.history(channel, since=since, **options)
        publications = [message(publication) for publication in history.publications]
        return {"publications": publications, "offset": history.offset, "epoch": history.epoch}

    async def presence(self, channel):
        await self.client.presence(channel)
        return {}

    async def rpc(self):
        await self.client.rpc("method", {})
        return {}


async def main(url):
    commands = Commands(url)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        try:
            reply = await getattr(commands, command.pop("do"))(**command)
        except ReplyError as error:
            reply = {"code": error.code}
        print(json.dumps(reply), flush=True)


asyncio.run(main(sys.argv[1]))
