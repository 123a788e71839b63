package fleetstate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// TestRestart: all is there again, and what expires goes on to.
func TestRestart(t *testing.T) {
	for name, again := range map[string]func(*fixture, reporter, func()){"stopped": (*fixture).restart, "killed": (*fixture).crash} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.host.define(1, "R1")
			f.apply(t, of("R1", clip("host", time.Hour), off("fleet", 2*time.Hour)), of("R2", on("group", 0)), of("R3", off("host", time.Minute)))
			was := f.State("R1")
			again(f, t, func() { f.machine.pass(30 * time.Minute) })
			if generation, timeline, ok := f.Known(); generation != 1 || timeline != "one" || !ok {
				t.Errorf("known is %d of %s, %v", generation, timeline, ok)
			}
			if got := f.State("R1"); !got.Equal(was) {
				t.Errorf("state is %+v, and was %+v", got, was)
			}
			if loaded := f.Load(); !loaded[0].State.Equal(was) {
				t.Errorf("loaded is %+v", loaded[0].State)
			}
			f.is(t, "R2", "enabled group")
			f.is(t, "R3", "enabled")
			f.quiet(t)
			f.machine.pass(30*time.Minute - 1)
			f.quiet(t)
			f.machine.pass(1)
			f.expect(t, "state R1 disabled by expiry")
			again(f, t, func() { f.machine.pass(2 * time.Hour) })
			f.is(t, "R1", "enabled")
			if f.Remote() != 1 {
				t.Errorf("%d rules have a state", f.Remote())
			}
		})
	}
}

// TestReboot: what is left is what was left when the file was written, or by the time of day, whichever is less.
func TestReboot(t *testing.T) {
	for name, c := range map[string]struct {
		again  func(*fixture, reporter, func())
		before time.Duration // up since the state was given
		clock  time.Duration // what the reboot takes, by the clock
		left   time.Duration
	}{
		"at once":                        {(*fixture).restart, 7 * time.Minute, 0, 53 * time.Minute},
		"later":                          {(*fixture).restart, 7 * time.Minute, 10 * time.Minute, 43 * time.Minute},
		"clock set back":                 {(*fixture).restart, 7 * time.Minute, -1000 * time.Hour, 53 * time.Minute},
		"clock set forward":              {(*fixture).restart, 7 * time.Minute, 1000 * time.Hour, 0},
		"without notice":                 {(*fixture).crash, 7 * time.Minute, time.Minute, 52 * time.Minute},
		"without notice, clock set back": {(*fixture).crash, 7 * time.Minute, -time.Hour, 55 * time.Minute},
		"without notice, soon":           {(*fixture).crash, time.Minute, -time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.apply(t, of("R1", off("fleet", time.Hour)), of("R2", off("fleet", 0)))
			for range int(c.before / time.Minute) {
				f.machine.pass(time.Minute)
				f.idle(t)
			}
			c.again(f, t, func() { f.machine.reboot(c.clock) })
			f.is(t, "R2", "disabled fleet")
			if c.left > 0 {
				if got, want := f.State("R1").ExpiresAt, f.machine.Now().Add(c.left); got.Sub(want).Abs() > tolerance {
					t.Errorf("it expires at %v, want %v", got, want)
				}
				// The next one has nothing to add, whatever the clock says.
				f.crash(t, func() { f.machine.step(-time.Hour) })
				f.crash(t, func() { f.machine.reboot(-time.Hour) })
				f.machine.pass(c.left - 1)
				f.quiet(t)
				f.is(t, "R1", "disabled fleet")
				f.machine.pass(1)
				f.expect(t, "state R1 enabled by expiry")
			}
			f.is(t, "R1", "enabled")
			f.crash(t, func() { f.machine.reboot(-1000 * time.Hour) })
			f.is(t, "R1", "enabled")
		})
	}
}

// TestUnknownBoot: where it can't be told whether the machine was started anew, it was.
func TestUnknownBoot(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("fleet", time.Hour)))
	f.restart(t, func() { f.machine.up = time.Minute }) // of the same id
	f.machine.pass(time.Hour - 1)
	f.is(t, "R1", "disabled fleet")
	f.machine.pass(1)
	f.is(t, "R1", "enabled")
}

// TestExpiredIsWritten: what has expired can't come back by a reboot soon after it.
func TestExpiredIsWritten(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("fleet", time.Minute)))
	f.machine.pass(time.Minute)
	f.crash(t, func() { f.machine.reboot(-time.Hour) })
	f.is(t, "R1", "enabled")
}

// TestDamaged: a file that is not whole is as none.
func TestDamaged(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("fleet", 0)))
	good, err := os.ReadFile(f.cfg.File)
	must(t, err)
	damage := [][]byte{{}, []byte("\n"), []byte("bittern-fleet-states 1 00000000\n"), append(slices.Clone(good), ' ')}
	for i := 0; i < len(good); i += 7 {
		flipped := slices.Clone(good)
		flipped[i] ^= 1
		damage = append(damage, flipped, good[:i])
	}
	for i, data := range damage {
		f.restart(t, func() { must(t, os.WriteFile(f.cfg.File, data, 0o600)) })
		if _, _, ok := f.Known(); ok || f.Remote() > 0 || f.State("R1").State != rules.Enabled {
			t.Errorf("damage %d counts: %q", i, data)
		}
		if got := f.log.has("level=ERROR"); got != i+1 {
			t.Fatalf("%d errors are logged after %d", got, i+1)
		}
	}
	f.resync(t, of("R1", off("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (fleet)")
	f.restart(t, func() {})
	f.is(t, "R1", "disabled fleet")
	f.restart(t, func() { must(t, os.Remove(f.cfg.File)) })
	f.is(t, "R1", "enabled")
	if f.log.has("level=ERROR") != len(damage) {
		t.Error("that there is no file is an error")
	}
}

// faulty are ops of which one fails, and if it is a crash, all after that.
type faulty struct {
	count, at int  // of ops done, and which fails; 0 for none
	crash     bool // nothing is done after that
	half      bool // a write that fails writes half, and another op is done before it fails
	seen      func(op int)
}

var errFault = errors.New("fault")

func (f *faulty) step(do func() error) error {
	f.count++
	if f.seen != nil {
		f.seen(f.count)
	}
	if f.at != 0 && (f.count == f.at || f.crash && f.count > f.at) {
		if f.half && f.count == f.at {
			_ = do() // it is done, and said not to be
		}
		return errFault
	}
	return do()
}

func (f *faulty) install(c *Config) {
	real := newDisk("", nil).ops
	c.ops = &ops{
		create: func(path string) (file *os.File, err error) {
			err = f.step(func() error { file, err = real.create(path); return err })
			if err != nil && file != nil {
				_ = file.Close()
			}
			return file, err
		},
		write: func(file *os.File, data []byte) error {
			if f.half && f.count+1 == f.at {
				data = data[:len(data)/2]
			}
			return f.step(func() error { return real.write(file, data) })
		},
		sync:    func(file *os.File) error { return f.step(func() error { return real.sync(file) }) },
		rename:  func(from, to string) error { return f.step(func() error { return real.rename(from, to) }) },
		syncDir: func(path string) error { return f.step(func() error { return real.syncDir(path) }) },
		remove:  func(path string) error { return f.step(func() error { return real.remove(path) }) },
	}
}

// steps is how many ops a write takes.
const steps = 5

// TestFailure has each step of a write fail: nothing of it has taken effect, also after a restart.
func TestFailure(t *testing.T) {
	for at := 1; at <= steps; at++ {
		for _, first := range []bool{true, false} {
			for _, half := range []bool{true, false} {
				t.Run(fmt.Sprintf("step %d, first %v, half %v", at, first, half), func(t *testing.T) {
					fault := &faulty{half: half}
					f := start(t, fault.install)
					if !first {
						f.apply(t, of("R1", off("fleet", 0)))
						f.expect(t, "state R1 disabled by alice (fleet)")
					}
					fault.at = fault.count + at
					if err := f.Apply(f.update(first, of("R1", clip("fleet", 0)), of("R2", off("fleet", 0)))); !errors.Is(err, errFault) {
						t.Fatalf("got %v", err)
					}
					f.quiet(t)
					for _, again := range []bool{false, true} {
						if again {
							f.crash(t, func() {})
						}
						f.is(t, "R2", "enabled")
						if first {
							f.is(t, "R1", "enabled")
						} else {
							f.is(t, "R1", "disabled fleet")
						}
						if generation, _, ok := f.Known(); ok == first || ok && generation != 1 {
							t.Errorf("known is %d, %v", generation, ok)
						}
					}
					f.apply(t, of("R1", clip("fleet", 0)), of("R2", off("fleet", 0)))
					f.expect(t, "state R1 clipped by bob (fleet)", "state R2 disabled by alice (fleet)")
				})
			}
		}
	}
}

// TestCrash ends the agent at each step of a write: the next one has all of it or nothing.
func TestCrash(t *testing.T) {
	for at := 1; at <= steps; at++ {
		for _, half := range []bool{true, false} {
			t.Run(fmt.Sprintf("step %d, half %v", at, half), func(t *testing.T) {
				fault := &faulty{crash: true, half: half}
				f := start(t, fault.install)
				f.apply(t, of("R1", off("fleet", 0)))
				f.expect(t, "state R1 disabled by alice (fleet)")
				fault.at = fault.count + at
				if err := f.Apply(f.update(false, of("R1", clip("fleet", 0)), of("R2", off("fleet", 0)))); err == nil {
					t.Fatal("it is no error")
				}
				f.quiet(t)
				f.crash(t, func() { fault.at = 0 })
				switch generation, _, ok := f.Known(); {
				case !ok:
					t.Fatalf("nothing is known: %s", f.log.text.String())
				case generation == 1:
					f.is(t, "R1", "disabled fleet")
					f.is(t, "R2", "enabled")
				default:
					f.is(t, "R1", "clipped fleet")
					f.is(t, "R2", "disabled fleet")
				}
			})
		}
	}
}

// TestPersistsFirst: while it is written, nothing of it counts or is announced.
func TestPersistsFirst(t *testing.T) {
	fault := &faulty{}
	f := start(t, fault.install)
	looks := 0
	fault.seen = func(int) {
		looks++
		if s := f.State("R1"); !s.IsZero() {
			t.Errorf("the state is %+v already", s)
		}
		if _, _, ok := f.Known(); ok || f.sub.Depth() > 0 {
			t.Error("it is announced already")
		}
	}
	f.apply(t, of("R1", off("fleet", 0)))
	fault.seen = nil
	if looks != steps {
		t.Errorf("%d steps, want %d", looks, steps)
	}
	f.expect(t, "state R1 disabled by alice (fleet)")
	before, _, _ := f.Known()
	f.apply(t) // nothing for this host: that is known, and need not be kept
	if after, _, _ := f.Known(); fault.count != steps || after != before+1 {
		t.Errorf("%d steps, generation %d after %d", fault.count, after, before)
	}
	f.last--
	f.apply(t)
	f.last--
	f.resync(t, of("R1", off("fleet", 0)))
	if fault.count != steps {
		t.Error("what is known is written again")
	}
	f.quiet(t)
}

// TestUnwritable: what expires does so, also if that can't be written, and the log says so once.
func TestUnwritable(t *testing.T) {
	fault := &faulty{crash: true}
	f := start(t, fault.install)
	f.apply(t, of("R1", off("fleet", time.Minute)), of("R2", off("fleet", 10*time.Hour)))
	f.expect(t, "state R1 disabled by alice (fleet)", "state R2 disabled by alice (fleet)")
	f.disk.mu.Lock()
	fault.at = 1
	f.disk.mu.Unlock()
	f.machine.pass(time.Minute)
	f.expect(t, "state R1 enabled by expiry")
	f.idle(t)
	for range 5 {
		f.machine.pass(writeAgain)
		f.idle(t)
	}
	if got := f.log.has("can't be written"); got != 1 {
		t.Errorf("it is logged %d times", got)
	}
	f.disk.mu.Lock()
	fault.at = 0
	f.disk.mu.Unlock()
	f.machine.pass(writeAgain)
	f.idle(t)
	f.crash(t, func() { f.machine.reboot(-time.Hour) })
	f.is(t, "R1", "enabled")
	f.is(t, "R2", "disabled fleet")
}

// TestWrittenNowAndThen: while something expires the file is not older than that, and else is left alone.
func TestWrittenNowAndThen(t *testing.T) {
	fault := &faulty{}
	f := start(t, fault.install)
	f.apply(t, of("R1", off("fleet", 0)))
	f.machine.pass(10 * writeEvery)
	f.idle(t)
	if fault.count != steps {
		t.Errorf("%d steps for what lasts for ever", fault.count)
	}
	f.apply(t, of("R2", off("fleet", time.Hour)))
	was := fault.count
	f.machine.pass(writeEvery - 1)
	f.idle(t)
	if fault.count != was {
		t.Error("it is written too often")
	}
	for i := 1; i <= 3; i++ {
		f.machine.pass(1)
		f.idle(t)
		if fault.count != was+i*steps {
			t.Errorf("%d steps, want %d", fault.count, was+i*steps)
		}
		f.machine.pass(writeEvery - 1)
		f.idle(t)
	}
	storetest.Expect(t, f.sub, "state R1 disabled by alice (fleet)", "state R2 disabled by alice (fleet)")
}
