"""What a test cluster is made of; the Go modules beside this file pin the same."""

# Nodes: one of each family of talosctl's command line.
TALOS = ("1.13.0", "1.11.5")
KUBERNETES = "1.36.0"
ETCD = "3.6.9"
# Talos 1.11.5 asks for this one, of another repository; it gets the one above.
OLD_ETCD = "3.6.5"
CONTAINERD = "2.2.2"
CNI = "1.9.1"
DEBIAN = "bookworm"
# The sandbox image of Talos 1.13 and of 1.11.
PAUSE = ("3.10.1", "3.10")
