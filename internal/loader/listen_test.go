package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// loopback is a socket address of the loopback device, of which the kernel chooses the port.
func loopback(family string) (domain int, address unix.Sockaddr) {
	switch family {
	case "4":
		return unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	case "6":
		return unix.AF_INET6, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
}

func addrPort(address unix.Sockaddr, err error) string {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return fmt.Sprintf("%T, %v", address, err)
}

// listen takes sockets of each family in args through their states, and prints what the kernel
// says of their addresses.
func listen(args []string) error {
	for _, family := range args {
		domain, address := loopback(family)
		if err := errors.Join(listenTCP(domain, address), bindUDP(domain, address)); err != nil {
			return fmt.Errorf("family %s: %w", family, err)
		}
	}
	return nil
}

func listenTCP(domain int, address unix.Sockaddr) error {
	socket, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := unix.Bind(socket, address); err != nil {
		return err
	}
	own, err := unix.Getsockname(socket)
	fmt.Println("bind tcp", addrPort(own, err))
	if err := unix.Listen(socket, 1); err != nil {
		return err
	}
	fmt.Println("listen tcp", addrPort(own, err))
	client, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	if err := unix.Connect(client, own); err != nil {
		return err
	}
	accepted, peer, err := unix.Accept4(socket, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	fmt.Println("accept tcp", addrPort(own, nil), "from", addrPort(peer, nil))
	return unix.Close(accepted)
}

func bindUDP(domain int, address unix.Sockaddr) error {
	socket, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := unix.Bind(socket, address); err != nil {
		return err
	}
	own, err := unix.Getsockname(socket)
	fmt.Println("bind udp", addrPort(own, err))
	return err
}

// families are those that this host can make sockets of.
func families() []string {
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return []string{"4"}
	}
	return []string{"4", "6", "mapped"}
}

// TestListens binds, listens and accepts on the loopback device, with ports that the kernel
// chooses. Every kind of hook sees all of it.
func TestListens(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	watch(t, k, event.NetworkListen, anything)
	cmd := in(cgroup, actCommand(t, "listen", families()...))
	want := output(t, cmd)
	if len(want) != 4*len(families()) {
		t.Fatalf("it printed %q", want)
	}
	var got []string
	for _, m := range drainMatches(t, k) {
		n := m.Event.Network
		line := fmt.Sprintf("%s %s %s", m.Event.Operation, n.Transport, netip.AddrPortFrom(n.Source, n.SourcePort))
		if n.Destination.IsValid() || n.Port != 0 {
			line += " from " + netip.AddrPortFrom(n.Destination, n.Port).String()
		}
		got = append(got, line)
		if p := m.Event.Process; p.PID != uint32(cmd.Process.Pid) || p.Executable != cmd.Path {
			t.Errorf("%s, done by %+v", line, p)
		}
	}
	sameLines(t, got, want)
}
