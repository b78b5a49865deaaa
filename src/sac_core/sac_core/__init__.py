"""Soft actor-critic and its data, without ROS and without a simulator.

Only ``parameters``, ``networks`` and ``agent`` import PyTorch. A robot PC that acts on a policy
imports ``policy`` and ``checkpoint``, which need NumPy and safetensors.
"""
