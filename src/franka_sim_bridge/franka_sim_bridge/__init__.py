"""A simulated Franka behind the interface of franka_ros2 and ros2_control."""
