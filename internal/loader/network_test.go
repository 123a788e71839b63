package loader

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"bittern/internal/event"
)

// connect connects to each address, which may well refuse.
func connect(addresses []string) error {
	for _, a := range addresses {
		network, address := a[:3], a[4:]
		if c, err := net.Dial(network, address); err == nil {
			c.Close()
		}
	}
	return nil
}

// TestConnects connects to addresses of the loopback, of each family and transport.
func TestConnects(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	r := ruleFor(t, event.NetworkConnect, "N", "  s: {process.pid: 0}\n  condition: not s")
	if _, err := k.Commit(Swap{"N", r}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("tcp 127.0.0.1:%d", port),
		"tcp 127.0.0.2:1", // nobody listens: the attempt counts
		"udp 127.0.0.1:9",
		"tcp [::1]:1",
		"udp [::1]:9",
	}
	cmd := in(cgroup, actCommand(t, "connect", want...))
	mustRun(t, cmd)

	var got []string
	for _, m := range drainMatches(t, k) {
		n := m.Event.Network
		got = append(got, fmt.Sprintf("%s %s", n.Transport, netip.AddrPortFrom(n.Destination, n.Port)))
		if m.Event.Process.Executable != self || m.Event.Process.PID != uint32(cmd.Process.Pid) {
			t.Errorf("connected by %+v", m.Event.Process)
		}
	}
	// A host without IPv6 has no socket to connect.
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		want = want[:3]
	}
	if !slices.Equal(got, want) {
		t.Errorf("connects %q, want %q", got, want)
	}
}
