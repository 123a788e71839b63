package event_test

import (
	"strings"
	"testing"

	"bittern/internal/event"
)

func TestContainerID(t *testing.T) {
	a, b := strings.Repeat("0a", 32), strings.Repeat("f9", 32)
	for path, want := range map[string]string{
		"/docker-" + a + ".scope":              a,
		"/system.slice/docker-" + a + ".scope": a,
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-" + a + ".scope": a,
		"/kubepods.slice/kubepods-pod1.slice/crio-" + a + ".scope":                                                a,
		"/machine.slice/libpod-" + a + ".scope/container":                                                         a,
		"/libpod_parent/libpod-" + a:                                                                              a,
		"/docker/" + a:                                                                                            a,
		"/docker/" + a + "/init.scope":                                                                            a,
		"/kubepods/besteffort/pod5b1c6a2e-55c1/" + a:                                                              a,
		"/pod5b1c6a2e-55c1/" + a:                                                                                  a, // the rest was not captured
		"/docker-" + a + ".scope/kubepods/pod1/" + b:                                                              b, // a cluster in a container
		"/docker/" + a + "/docker-" + b + ".scope/x":                                                              b,
		"docker-" + a + ".scope":                                                                                  a,
		"":                                                                                                        "",
		"/":                                                                                                       "",
		"/user.slice/user-1000.slice/session-2.scope":                                                             "",
		"/" + a:                                        "",
		"/system.slice/" + a:                           "",
		"/docker-" + a[1:] + ".scope":                  "",
		"/docker-" + a + "0.scope":                     "",
		"/docker-" + strings.ToUpper(a) + ".scope":     "",
		"/docker-" + a + ".service":                    "",
		"/machine.slice/libpod-conmon-" + a + ".scope": "",
		"/kubepods.slice/crio-conmon-" + a + ".scope":  "",
		"/evil-docker-" + a + ".scope":                 "",
		"/docker/x" + a[1:]:                            "",
		"/docker-\xff" + a[1:] + ".scope":              "",
	} {
		if have := event.ContainerID(path); have != want {
			t.Errorf("%q: have %q, want %q", path, have, want)
		}
	}
}
