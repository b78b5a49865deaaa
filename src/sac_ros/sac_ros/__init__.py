"""What the nodes share: QoS profiles, message codecs, parameters, the lifecycle base."""
