# The environment of this workspace for bash and zsh: `. ./env.sh`, then `ros2 launch sac_bringup …`.
# On a ROS 2 host it only adds the workspace (install/setup.*); elsewhere it adds the virtual environment,
# the ROS 2 wheels and the built workspace.
if [ -n "${BASH_SOURCE:-}" ]; then _root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd); else _root=$(cd "$(dirname "$0")" && pwd); fi
if [ -n "${ROS_DISTRO:-}" ] && [ -z "${FRANKA_SAC_ENV:-}" ]; then
  if [ -n "${ZSH_VERSION:-}" ]; then . "$_root/install/setup.zsh"; else . "$_root/install/setup.bash"; fi
elif [ "${FRANKA_SAC_ENV:-}" != "$_root" ]; then
  export FRANKA_SAC_ENV=$_root ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
  export VIRTUAL_ENV=$_root/.venv
  export PATH=$_root/.venv/bin:$PATH
  export AMENT_PREFIX_PATH=$_root/.venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}
  # The wheels would start Python a second time to set this; setting it here keeps the workspace first.
  _libraries=$_root/.venv/lib
  for _folder in "$_root"/.venv/lib/python3.*/site-packages/ros_*.libs; do _libraries=$_libraries:$_folder; done
  export LD_LIBRARY_PATH=$_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
  unset _libraries _folder
  if [ -n "${ZSH_VERSION:-}" ]; then _setup=$_root/install/local_setup.zsh; else _setup=$_root/install/local_setup.bash; fi
  if [ -e "$_setup" ]; then . "$_setup"; fi
  unset _setup
fi
unset _root
