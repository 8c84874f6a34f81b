"""Two processes on this machine, started by torchrun."""

import os
import socket
import subprocess
import sys


def torchrun(*arguments):
    """Run a script in two processes. They meet on the loopback interface: a machine's own name need not resolve."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), *map(str, arguments)]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"torchrun ended with {done.returncode}:\n{done.stderr[-6000:]}")
