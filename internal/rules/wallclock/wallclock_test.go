package wallclock

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAlarm(t *testing.T) Alarm {
	t.Helper()
	a, err := System{}.NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func set(t *testing.T, a Alarm, at time.Time) {
	t.Helper()
	if err := a.Set(at); err != nil {
		t.Fatal(err)
	}
}

func rings(t *testing.T, a Alarm) {
	t.Helper()
	select {
	case <-a.C():
	case <-time.After(30 * time.Second):
		t.Fatal("it does not go off")
	}
}

func TestAlarm(t *testing.T) {
	a := newAlarm(t)
	clock := System{}
	for _, before := range []time.Duration{20 * time.Millisecond, 0, -time.Hour} {
		at := clock.Now().Add(before)
		set(t, a, at)
		rings(t, a)
		if now := clock.Now(); now.Before(at) {
			t.Errorf("it went off %s early", at.Sub(now))
		}
	}
	set(t, a, time.Unix(0, 0))
	rings(t, a)
}

func TestAlarmIsSetAnew(t *testing.T) {
	a, fence := newAlarm(t), newAlarm(t)
	soon := System{}.Now().Add(20 * time.Millisecond)
	set(t, a, soon)
	set(t, a, time.Time{}) // never
	set(t, fence, soon.Add(20*time.Millisecond))
	rings(t, fence)
	select {
	case <-a.C():
		t.Error("it goes off although it was set to never")
	default:
	}
	set(t, a, System{}.Now().Add(time.Hour))
	set(t, a, System{}.Now())
	rings(t, a)
}

func TestUptimeAlarm(t *testing.T) {
	a, err := NewUptimeAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	began, err := Uptime()
	if err != nil || began <= 0 {
		t.Fatalf("uptime is %v, %v", began, err)
	}
	ring := func(at time.Duration) {
		t.Helper()
		if err := a.Set(at); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.C():
		case <-time.After(30 * time.Second):
			t.Fatal("it does not go off")
		}
		if now, _ := Uptime(); now < at {
			t.Errorf("it went off %v early", at-now)
		}
	}
	ring(began + 20*time.Millisecond)
	ring(1)
	if err := a.Set(0); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.C():
		t.Error("it goes off though it is not set")
	case <-time.After(20 * time.Millisecond):
	}
}
