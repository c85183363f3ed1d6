"""
Brokers that go, come back, take nothing, or say no.
"""

from __future__ import annotations

import logging
import traceback
import uuid

import pytest
from support.processes import free_port

import coatcheck
import coatcheck.aio
import coatcheck_rpc
import coatcheck_rpc.mailbox
import coatcheck_rpc.session
from coatcheck.testing.proof import PATIENCE
from coatcheck.testing.proxy import Proxy
from coatcheck.testing.threads import Started, until


def test_restart(rabbitmq, results, queue):
    """
    A wait and a store go on over a restart of the broker; earlier records can be read all the while.
    """
    results.store_result("before", 1)
    wait = Started(results.wait_for, "t", 4 * PATIENCE)
    with coatcheck.by_url(rabbitmq.url, reply_to=queue, operation_timeout=3 * PATIENCE) as worker:
        worker.store_result("warm", 1)
        rabbitmq.stop()
        try:
            assert 1 == results.get_result("before")
            late = Started(worker.store_result, "t", 2)
        finally:
            rabbitmq.start()

        assert late.answer()
        assert 2 == wait.answer().result
    assert results.store_result("after", 3)


def test_connections_are_cut(rabbitmq, queue):
    """
    A reader whose connection is cut, again and again, gets the results that are stored from then on.
    """
    with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        url = f"rpc://127.0.0.1:{proxy.port}"
        with (
            coatcheck.by_url(url, queue=queue) as results,
            coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker,
        ):
            results.store_result("warm", 1)
            mailbox = results.backend._client.mailbox
            for round_ in range(3):
                wait = Started(results.wait_for, f"t{round_}", PATIENCE)
                proxy.cut()
                # Before the broker notices, messages still go to the old connection.
                assert until(lambda: not mailbox.live)
                assert until(lambda: mailbox.live)
                worker.store_result(f"t{round_}", round_)

                assert round_ == wait.answer().result


def test_lost_confirmation(rabbitmq, queue):
    """
    A message whose confirmation is lost is sent again, and is one record.
    """
    with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        with coatcheck.by_url(f"rpc://127.0.0.1:{proxy.port}", queue=queue) as results:
            results.store_result("warm", 1)
            for round_ in range(3):
                proxy.drop_replies(1)

                assert results.store_result(f"t{round_}", round_)
                assert not results.store_result(f"t{round_}", "late")
                assert round_ == results.get_result(f"t{round_}")


def test_silence(rabbitmq, queue):
    """
    While the broker says nothing, stores and waits end in their time, and later all goes on.
    """
    with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        url = f"rpc://127.0.0.1:{proxy.port}"
        with coatcheck.by_url(url, queue=queue, operation_timeout=0.5) as results:
            assert until(lambda: stores(results, "warm"))
            proxy.stall()
            with pytest.raises(coatcheck.BackendUnavailableError, match="in time"):
                Started(results.store_result, "t", 1).answer()
            with pytest.raises(coatcheck.WaitTimeoutError):
                Started(results.wait_for, "u", 0.2).answer()
            proxy.resume()

            assert until(lambda: stores(results, "u"))
            assert 1 == results.get_result("warm")


def test_a_forgotten_connection_of_who_sends(rabbitmq, results):
    """
    After a long silence a router forgets a connection without a word to either side. A store takes a new
    connection, in its own time.
    """
    with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        url = f"rpc://127.0.0.1:{proxy.port}"
        queue = coatcheck_rpc.reply_to(results)
        with coatcheck.by_url(url, reply_to=queue, operation_timeout=4.0) as worker:
            worker.store_result("warm", 1)
            proxy.forget()

            assert worker.store_result("t", 2)
    assert 2 == results.wait_for("t", PATIENCE).result


def test_a_forgotten_connection_of_who_reads(rabbitmq, queue):
    """
    The same: after some heartbeats the reader connects again, and its waits go on.
    """
    with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        url = f"rpc://127.0.0.1:{proxy.port}"
        with coatcheck.by_url(url, queue=queue, heartbeat=1, operation_timeout=PATIENCE) as results:
            results.store_result("warm", 1)
            mailbox = results.backend._client.mailbox
            wait = Started(results.wait_for, "t", PATIENCE)
            proxy.forget()

            assert until(lambda: not mailbox.live, patience=5.0)  # the driver takes 6 s or more
            assert until(lambda: mailbox.live)
            with coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker:
                worker.store_result("t", 2)
            assert 2 == wait.answer().result
            assert results.store_result("u", 3)


def stores(results, task_id):
    """Whether a store comes through."""
    try:
        return results.store_result(task_id, 1)
    except coatcheck.BackendUnavailableError:
        return False


def test_blocked(rabbitmq, queue):
    """
    A broker that is short of memory takes nothing: a store says so in its time, reading goes on, and
    when there is memory again all is as before.
    """
    with coatcheck.by_url(rabbitmq.url, queue=queue, operation_timeout=1.0) as results:
        assert until(lambda: stores(results, "before"))
        rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
        try:
            with pytest.raises(coatcheck.BackendUnavailableError, match="blocked") as caught:
                Started(results.store_result, "t", 1).answer()
            assert 1 == results.get_result("before")
        finally:
            rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1GB")

        assert caught.value.__cause__ is not None
        assert until(lambda: stores(results, "u"))


async def test_no_reader_for_asyncio(rabbitmq, queue):
    """
    A queue without a reader, for asyncio: the store ends in its time and names the queue.
    """
    async with coatcheck.aio.by_url(rabbitmq.url, reply_to=queue, operation_timeout=2.0) as worker:
        with pytest.raises(coatcheck.BackendUnavailableError, match=f"no queue '{queue}'"):
            await worker.store_result("t", 1)


def test_no_reader(rabbitmq, queue):
    """
    Without its reader there is no queue: a store tries for its time, and says that. A reader that
    comes within it is found.
    """
    with coatcheck.by_url(rabbitmq.url, reply_to=queue, operation_timeout=2.0) as worker:
        with pytest.raises(coatcheck.BackendUnavailableError, match=f"no queue '{queue}'"):
            worker.store_result("t", 1)
    with coatcheck.by_url(rabbitmq.url, reply_to=queue, operation_timeout=PATIENCE) as worker:
        late = Started(worker.store_result, "t", 2)
        with coatcheck.by_url(rabbitmq.url, queue=queue) as results:
            assert 2 == results.wait_for("t", PATIENCE).result
            assert late.answer()


def test_two_readers(rabbitmq, results, queue):
    """
    A queue that another connection reads is refused to a second reader, with the way out.
    """
    results.store_result("t", 1)
    other = rabbitmq.url.replace("127.0.0.1", "localhost")
    with (
        coatcheck.by_url(other, queue=queue, operation_timeout=2.0) as second,
        pytest.raises(coatcheck.BackendUnavailableError, match="leave queue= out"),
    ):
        second.get_result("t")
    assert 1 == results.get_result("t")


def test_precondition_failed(rabbitmq, queue):
    """
    A queue with other arguments is an error that names it, at once; other queues are not concerned.
    """
    with rabbitmq.connection() as connection:
        connection.channel().queue_declare(queue, durable=True)
        with coatcheck.by_url(rabbitmq.url, queue=queue) as results:
            with pytest.raises(coatcheck.BackendError, match="other arguments") as caught:
                Started(results.get_result, "t").answer()
            assert queue in str(caught.value)
            with coatcheck.by_url(rabbitmq.url, queue=f"{queue}-2") as fine:
                assert fine.store_result("t", 1)
        connection.channel().queue_delete(queue)


@pytest.mark.parametrize("who", ["guest:hunter2", "nobody:hunter2"])
def test_refused(rabbitmq, who):
    """
    A wrong password is said at once, and not shown.
    """
    url = f"rpc://{who}@127.0.0.1:{rabbitmq.port}"
    with coatcheck.by_url(url) as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="refuses the user") as caught:
            Started(results.store_result, "t", 1).answer()

    assert "hunter2" not in str(caught.value)


def test_users_are_not_named(rabbitmq):
    """A broker names the user whom it refuses; neither the error nor its cause passes that on."""
    name = f"stranger-{uuid.uuid4()}"
    rabbitmq.control("add_user", name, "pw")
    url = rabbitmq.url.replace("rpc://", f"rpc://{name}:pw@")

    for refusal in ("vhost", "queue"):
        with coatcheck.by_url(url) as results, pytest.raises(coatcheck.BackendError) as caught:
            results.get_task_meta("t")
        text = "".join(traceback.format_exception(caught.value, limit=0))
        assert f"access to {refusal}" in text
        assert "user '***'" in text
        assert name not in text
        rabbitmq.control("set_permissions", name, "^$", "^$", "^$")


def test_no_virtual_host(rabbitmq):
    """
    So is a virtual host that is not there.
    """
    with coatcheck.by_url(f"{rabbitmq.url}/nowhere") as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="virtual host"):
            Started(results.store_result, "t", 1).answer()


def test_too_large_for_the_broker(rabbitmq, results):
    """
    The error for a message that is too large names the broker's limit. Waiters hear of it, and other stores
    are not harmed.
    """
    rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 100000).")
    try:
        results.backend.close()  # a channel keeps the limit it began with
        assert until(lambda: rabbitmq.open_connections() == 0)
        with pytest.raises(coatcheck.ResultTooLargeError) as caught:
            results.store_result("t", "x" * 200_000)
        assert results.store_result("u", 1)
    finally:
        rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 134217728).")

    assert "FAILURE" == results.get_state("t")
    assert 100_000 == caught.value.limit


def test_the_next_node_is_tried(rabbitmq, queue):
    """
    Of several nodes the first that answers is taken.
    """
    url = f"rpc://127.0.0.1:{free_port()},127.0.0.1:{rabbitmq.port}"
    with coatcheck.by_url(url, queue=queue) as results:
        assert results.store_result("t", 1)


def test_the_driver_does_not_flood_the_log(queue, caplog):
    """
    A broker that is away is said by us, and not in ten lines of errors for each try.
    """
    caplog.set_level(logging.DEBUG)
    url = f"rpc://127.0.0.1:{free_port()}"
    with coatcheck.by_url(url, queue=queue, operation_timeout=0.3) as results:
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.store_result("t", 1)

    assert [] == [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert any("no connection" in record.getMessage() for record in caplog.records)


def test_a_broken_line_is_made_anew(rabbitmq, queue, monkeypatch):
    """
    A mistake in the thread of the connection fails the operations that are under way, and no others.
    """

    def break_down(self, _):
        raise ZeroDivisionError

    with coatcheck.by_url(rabbitmq.url, queue=queue, operation_timeout=0.5) as results:
        assert until(lambda: stores(results, "t"))
        with monkeypatch.context() as patch:
            patch.setattr(coatcheck_rpc.session.Session, "post", break_down)
            with pytest.raises(coatcheck.BackendUnavailableError):
                Started(results.store_result, "u", 1).answer()

        assert until(lambda: stores(results, "v"))
        assert 1 == results.get_result("t")


def test_a_message_that_breaks_the_reader(rabbitmq, queue, monkeypatch):
    """
    A mistake over one message drops that one; the connection stays, and all other replies.
    """
    arrive = coatcheck_rpc.mailbox.Mailbox.arrive

    def break_down(self, mail):
        if mail.task_id == "bad":
            raise ZeroDivisionError
        return arrive(self, mail)

    monkeypatch.setattr(coatcheck_rpc.mailbox.Mailbox, "arrive", break_down)
    with coatcheck.by_url(rabbitmq.url, queue=queue) as results:
        with coatcheck.by_url(rabbitmq.url, reply_to=coatcheck_rpc.reply_to(results)) as worker:
            worker.store_many({"bad": 1, "good": 2})

        assert 2 == results.wait_for("good", 10).result
        assert not results.exists("bad")


def test_tls(rabbitmq, queue):
    """
    Everything works over TLS, and an untrusted broker is refused.
    """
    with coatcheck.by_url(rabbitmq.tls_url, queue=queue, ssl_ca_certs=rabbitmq.ca) as results:
        assert results.store_result("t", 1)
        assert 1 == results.AsyncResult("t").get(timeout=10)
    with (
        coatcheck.by_url(rabbitmq.tls_url, operation_timeout=0.5) as wary,
        pytest.raises(coatcheck.BackendUnavailableError, match=r"(?i)certificate"),
    ):
        wary.store_result("t", 1)
    with coatcheck.by_url(rabbitmq.tls_url, ssl_cert_reqs="none") as trusting:
        assert trusting.store_result("t", 1)


def test_no_certificates(rabbitmq):
    """
    Certificates that cannot be read are an error that names the file.
    """
    url = f"{rabbitmq.tls_url}?ssl_ca_certs=/nowhere.pem"
    with (
        coatcheck.by_url(url, operation_timeout=0.3) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match="No such file"),
    ):
        results.store_result("t", 1)
