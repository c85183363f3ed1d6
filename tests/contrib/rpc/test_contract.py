"""
RabbitMQ keeps the contract of a store that one process reads.
"""

from __future__ import annotations

import pytest
from support.rabbitmq_proof import RabbitMQProof

from coatcheck.testing import AioBackendContract, BackendContract
from coatcheck.testing.proxy import Proxy


class RPC(RabbitMQProof):
    @pytest.fixture
    def url(self, rabbitmq):
        self.server = rabbitmq
        # All of it through a proxy: whoever reads a queue by another way takes from its messages.
        with Proxy("127.0.0.1", rabbitmq.port) as self.proxy:
            yield self.named().replace(str(rabbitmq.port), str(self.proxy.port))

    def cut(self):
        self.proxy.cut()


class TestRPC(RPC, BackendContract):
    pass


class TestRPCAio(RPC, AioBackendContract):
    pass
