package loader

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// quietListener listens on a port of the loopback device and leaves what connects in its queue.
func quietListener(t *testing.T) (socket, port int) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(socket, 4*enough); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return socket, address.(*unix.SockaddrInet4).Port
}

// queued accepts all that has connected, and counts it.
func queued(t *testing.T, socket int) (n int) {
	t.Helper()
	for {
		fd, _, err := unix.Accept4(socket, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		n++
	}
}

// raceConnect connects to one of the ports args, by an address that is rewritten meanwhile.
func raceConnect(args []string) error {
	var ports [2]uint16 // as the network has them
	for i := range ports {
		n, err := strconv.ParseUint(args[i], 10, 16)
		if err != nil {
			return err
		}
		ports[i] = uint16(n>>8 | n<<8)
	}
	address := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ports[0], Addr: [4]byte{127, 0, 0, 1}}
	defer meanwhile(func() { poke(&address.Port, ports[1]); poke(&address.Port, ports[0]) })()
	hits := [2]int{}
	for range 3 * enough {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(socket), uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address)); errno != 0 {
			return syscallError("connect", errno)
		}
		peer, err := unix.Getpeername(socket)
		if err != nil {
			return err
		}
		if peer.(*unix.SockaddrInet4).Port == int(ports[0]>>8|ports[0]<<8) {
			hits[0]++
		} else {
			hits[1]++
		}
		if err := unix.Close(socket); err != nil {
			return err
		}
	}
	fmt.Println(hits[0], hits[1])
	return nil
}

// TestConnectRace connects by an address that is rewritten while the kernel reads it: what is
// reported is what each listener got.
func TestConnectRace(t *testing.T) {
	k, cgroup := openForTest(t, Config{RingBytes: raceRing})
	one, port1 := quietListener(t)
	two, port2 := quietListener(t)
	watch(t, k, event.NetworkConnect, "  s: {destination.ip: 127.0.0.1}")
	said := output(t, in(cgroup, actCommand(t, "race-connect", strconv.Itoa(port1), strconv.Itoa(port2))))
	got := make(map[uint16]int)
	for _, m := range drainMatches(t, k) {
		got[m.Event.Network.Port]++
	}
	n1, n2 := queued(t, one), queued(t, two)
	if got[uint16(port1)] != n1 || got[uint16(port2)] != n2 || len(got) != 2 {
		t.Errorf("connects by port %v, want %d to %d and %d to %d", got, n1, port1, n2, port2)
	}
	if n1 == 0 || n2 == 0 || fmt.Sprint(n1, n2) != said[0] {
		t.Errorf("no race: the listeners got %d and %d, the process says %s", n1, n2, said)
	}
}
