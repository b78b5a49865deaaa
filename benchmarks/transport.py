"""Batches and weights through real topics between two processes, with the suite's codecs and QoS.

* Weights: from before encoding in the publishing process to the policy that is ready to act in the
  other one, for the HalfCheetah actor network (two 256-unit layers, 0.29 MB).
* Batches of 30 HalfCheetah transitions: decoded, checked and inserted into a replay buffer in the
  other process, and acknowledged; one at a time for the latency, 50 under way for the throughput.

    make bench B=transport
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time

import common
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import serialize_message

from sac_core.policy import Policy
from sac_core.replay import ReplayBuffer
from sac_msgs.msg import PolicyWeights, TransitionAck, TransitionBatch, TransitionCursor
from sac_ros import qos
from sac_ros.codecs import (
    Transitions,
    policy_from_message,
    policy_to_message,
    transitions_from_message,
    transitions_to_message,
)
from sac_ros.node import set_up_fast_dds

OBSERVATION_SIZE, ACTION_SIZE, ROWS = 17, 6, 30
WEIGHTS_PERIOD = 0.05  # s
UNDER_WAY = 50  # batches


def random_policy() -> dict[str, np.ndarray]:
    """Tensors of a policy of HalfCheetah size."""
    rng = np.random.default_rng(0)
    sizes = {
        "hidden.0": (256, OBSERVATION_SIZE),
        "hidden.1": (256, 256),
        "mean": (ACTION_SIZE, 256),
        "log_std": (ACTION_SIZE, 256),
    }
    tensors = {}
    for name, shape in sizes.items():
        tensors[f"{name}.weight"] = rng.normal(0.0, 0.1, shape).astype(np.float32)
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return tensors


def random_transitions() -> Transitions:
    """A batch of HalfCheetah size."""
    rng = np.random.default_rng(0)
    return Transitions(
        observations=rng.normal(size=(ROWS, OBSERVATION_SIZE)).astype(np.float32),
        actions=rng.uniform(-1.0, 1.0, (ROWS, ACTION_SIZE)).astype(np.float32),
        rewards=rng.normal(size=ROWS).astype(np.float32),
        next_observations=rng.normal(size=(ROWS, OBSERVATION_SIZE)).astype(np.float32),
        terminated=np.zeros(ROWS, np.uint8),
        truncated=np.zeros(ROWS, np.uint8),
        source=np.ones(ROWS, np.uint8),
        policy_version=np.ones(ROWS, np.uint64),
    )


class Peer:
    """The other process: applies weights as an actor does, stores batches as a learner does."""

    def __init__(self) -> None:
        self.node = Node("peer")
        self.policy: Policy | None = None
        self.latencies: list[float] = []
        self.replay = ReplayBuffer(1_000_000, OBSERVATION_SIZE, ACTION_SIZE)
        self.acks = self.node.create_publisher(TransitionAck, "bench/ack", qos.TRANSITIONS_ACK)
        self.node.create_subscription(PolicyWeights, "bench/policy", self.on_policy, qos.POLICY)
        self.node.create_subscription(
            TransitionBatch, "bench/transitions", self.on_batch, qos.TRANSITIONS
        )

    def on_policy(self, message: PolicyWeights) -> None:
        self.policy = policy_from_message(message)
        published = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.latencies.append((time.time_ns() - published) / 1e6)

    def on_batch(self, message: TransitionBatch) -> None:
        rows = transitions_from_message(message)
        masks = 1.0 - rows.terminated.astype(np.float32)
        self.replay.insert(
            rows.observations, rows.actions, rows.rewards, masks, rows.next_observations
        )
        cursor = TransitionCursor(next_sequence=message.first_sequence + len(rows))
        self.acks.publish(TransitionAck(actors=[cursor]))

    def run(self) -> None:
        """Work until the parent closes our standard input, then print what was measured."""
        spinner = spin_in_background(self.node)
        sys.stdin.read()
        rclpy.shutdown()
        spinner.join()
        print(json.dumps({"latencies": self.latencies, "inserted": self.replay.inserted}))


def spin_in_background(node: Node) -> threading.Thread:
    """Callbacks on a thread of their own, as the suite's nodes have it; ends with rclpy."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin)
    thread.start()
    return thread


class Near:
    """This process: publishes, and hears the acknowledgements."""

    def __init__(self) -> None:
        self.node = Node("near")
        self.policy = self.node.create_publisher(PolicyWeights, "bench/policy", qos.POLICY)
        self.batches = self.node.create_publisher(
            TransitionBatch, "bench/transitions", qos.TRANSITIONS
        )
        self.acknowledged = 0
        self.news = threading.Condition()
        self.node.create_subscription(TransitionAck, "bench/ack", self.on_ack, qos.TRANSITIONS_ACK)
        self.spinner = spin_in_background(self.node)

    def on_ack(self, message: TransitionAck) -> None:
        with self.news:
            self.acknowledged = message.actors[0].next_sequence
            self.news.notify()

    def wait_for_peer(self) -> None:
        """Both directions have to be matched before anything is measured."""
        deadline = time.monotonic() + 30.0
        while (
            self.policy.get_subscription_count() < 1
            or self.batches.get_subscription_count() < 1
            or self.node.count_publishers("bench/ack") < 1
        ):
            if time.monotonic() > deadline:
                common.fail("the two processes did not find each other within 30 s")
            time.sleep(0.01)

    def wait_for_ack(self, sequence: int) -> None:
        with self.news:
            if not self.news.wait_for(lambda: self.acknowledged >= sequence, timeout=10.0):
                common.fail("a batch was not acknowledged within 10 s")

    def publish_weights(self, count: int) -> None:
        tensors = random_policy()
        for version in range(1, count + 1):
            message = PolicyWeights(version=version, learner_id="near")
            now = time.time_ns()
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
            self.policy.publish(policy_to_message(tensors, message))
            time.sleep(WEIGHTS_PERIOD)

    def publish_batch(self, rows: Transitions, sequence: int) -> None:
        message = TransitionBatch(actor_id="near", task="none", first_sequence=sequence)
        self.batches.publish(transitions_to_message(rows, message))

    def measure_batches(self, count: int) -> tuple[list[float], float]:
        """Publish-to-acknowledged times (ms) one at a time, and transitions per second in bulk."""
        rows, sequence, times = random_transitions(), 0, []
        for _ in range(count):
            started = time.perf_counter()
            self.publish_batch(rows, sequence)
            sequence += ROWS
            self.wait_for_ack(sequence)
            times.append((time.perf_counter() - started) * 1e3)
        first, started = sequence, time.perf_counter()
        for _ in range(10 * count):
            self.publish_batch(rows, sequence)
            sequence += ROWS
            self.wait_for_ack(sequence - UNDER_WAY * ROWS)
        self.wait_for_ack(sequence)
        return times, (sequence - first) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(common.free_domain()))
    set_up_fast_dds()  # as the nodes do
    rclpy.init()
    if options.peer:
        Peer().run()
        return
    count = 50 if options.quick else 500
    command = [sys.executable, __file__, "--peer"]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    near = Near()
    try:
        near.wait_for_peer()
        near.publish_weights(count)
        times, transitions_per_second = near.measure_batches(count)
        output, _ = peer.communicate("", timeout=30.0)
    finally:
        if peer.poll() is None:
            peer.kill()
            peer.wait()
        rclpy.shutdown()
        near.spinner.join()
    heard = json.loads(output)
    weights = heard["latencies"][2:]  # the first two pay for imports and discovery
    message = transitions_to_message(random_transitions(), TransitionBatch(actor_id="near"))
    batch_bytes = len(serialize_message(message))
    weights_message = policy_to_message(random_policy(), PolicyWeights())
    weights_bytes = len(serialize_message(weights_message))
    common.print_table(
        ["", "size (kB)", "p50 (ms)", "p99 (ms)"],
        [
            [name, f"{size / 1e3:.1f}", *(f"{np.percentile(ms, q):.2f}" for q in (50, 99))]
            for name, size, ms in (
                ("weights, publish to applied", weights_bytes, weights),
                ("batch of 30, publish to acknowledged", batch_bytes, times),
            )
        ],
    )
    print(
        f"{transitions_per_second:,.0f} transitions/s, "
        f"{transitions_per_second / ROWS * batch_bytes / 1e6:.1f} MB/s "
        f"with {UNDER_WAY} batches under way"
    )
    common.print_json(
        {
            "weights_publish_to_applied_ms_p50": common.rounded(np.percentile(weights, 50)),
            "weights_publish_to_applied_ms_p99": common.rounded(np.percentile(weights, 99)),
            "weights_bytes": weights_bytes,
            "weights_lost": count - len(heard["latencies"]),
            "batch_publish_to_acknowledged_ms_p50": common.rounded(np.percentile(times, 50)),
            "batch_publish_to_acknowledged_ms_p99": common.rounded(np.percentile(times, 99)),
            "batch_bytes": batch_bytes,
            "transitions_per_second": common.rounded(transitions_per_second),
            "bytes_per_second": common.rounded(transitions_per_second / ROWS * batch_bytes),
            "transitions_lost": 11 * count * ROWS - heard["inserted"],
        }
    )


if __name__ == "__main__":
    main()
