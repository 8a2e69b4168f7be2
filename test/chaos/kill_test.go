package chaos_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/test/environments"
)

// rounds is how often it is struck. The VM is emulated, and is there for the other
// cgroup version, not for the number.
func rounds() int {
	switch {
	case environments.InVM():
		return 8
	case testing.Short():
		return 60
	}
	return 300
}

// way is what is under way when it is struck.
type way string

const (
	wayTest way = "test" // env test, from its first step to its last
	wayUp   way = "up"   // env up -d --wait
	wayDown way = "down" // env down, after an up
)

// victim is what is struck.
type victim string

const (
	victimCommand    victim = "command line"
	victimGroup      victim = "process group" // as CI runners do
	victimSupervisor victim = "supervisor"
	victimService    victim = "service"
	victimInit       victim = "container's init"
	victimAll        victim = "everything"
	victimCompanion  victim = "sandboxrun-images"
	victimAsked      victim = "asked to end" // a signal that can be caught
)

// round is one strike. All of it follows from the seed and the number.
type round struct {
	number int
	way    way
	victim victim
	// at is when, as a part of an undisturbed command's time.
	at float64
	// cold is without the images in the store; egress is with a way out.
	cold, egress bool
	// after is the command that removes what is left.
	after  string
	signal unix.Signal
	random *rand.Rand
}

func newRound(seed uint64, number int) *round {
	random := rand.New(rand.NewPCG(seed, uint64(number)))
	pick := func(from ...victim) victim { return from[random.IntN(len(from))] }
	r := &round{
		number: number, way: []way{wayTest, wayTest, wayUp, wayDown}[number%4],
		victim: pick(victimCommand, victimCommand, victimGroup, victimSupervisor, victimSupervisor, victimService, victimInit, victimAll, victimAsked),
		at:     random.Float64(), cold: random.IntN(8) == 0, egress: random.IntN(2) == 0,
		after:  []string{"down", "gc", "test"}[random.IntN(3)],
		signal: []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}[random.IntN(3)], random: random,
	}
	if r.cold && r.way != wayDown && random.IntN(2) == 0 {
		// It is there at the beginning alone.
		r.victim, r.at = victimCompanion, r.at/4
	}
	if r.way == wayDown && r.victim == victimInit {
		r.victim = victimService // nothing is started any more
	}
	return r
}

func (r *round) String() string {
	text := fmt.Sprintf("-round %d: %s struck at %.2f of %s", r.number, r.victim, r.at, r.way)
	if r.victim == victimAsked {
		text += " by " + unix.SignalName(r.signal)
	}
	if r.cold {
		text += ", without images"
	}
	if r.egress {
		text += ", with egress"
	}
	return text + ", then " + r.after
}

// TestKilledAtAnyMomentLeavesNothing strikes environments at random moments. What has
// lost its supervisor, or its parent, is dead within a second; the command that was not
// struck itself ends, with an error or not, and leaves nothing; and what is left when
// it was is removed by the next one.
func TestKilledAtAnyMomentLeavesNothing(t *testing.T) {
	f := newField(t)
	n := seed(t)
	watch := newNeighbour(f)
	times := f.measure(n)
	var tally tally
	began := time.Now()
	parallel(rounds(), func(number int) {
		if *roundFlag >= 0 && number != *roundFlag || t.Failed() && tally.failures() > 10 {
			return
		}
		r := newRound(n, number)
		if err := f.strikeUntilHit(r, times[r.way], &tally); err != nil {
			tally.failed()
			t.Errorf("%v: %v", r, err)
		}
		if err := watch.ask(); err != nil {
			t.Errorf("%v: the neighbour was harmed: %v", r, err)
		}
	})
	if struck := tally.struck(); struck < rounds()*3/4 && *roundFlag < 0 {
		t.Errorf("only %d of %d rounds struck anything: this proves little", struck, rounds())
	}
	t.Logf("%d rounds in %v; undisturbed: %v\n%v", rounds(), time.Since(began).Round(time.Second), times, &tally)
	watch.end()
}

// measure returns how long each way takes undisturbed: the best of some.
func (f *field) measure(n uint64) map[way]time.Duration {
	f.tb.Helper()
	times := map[way]time.Duration{}
	for _, w := range []way{wayTest, wayUp, wayDown} {
		var all []time.Duration
		for i := range 3 {
			r := &round{number: i, way: w, egress: i == 0, random: rand.New(rand.NewPCG(n, 0))}
			e := f.newEnviron(fmt.Sprintf("measured-%s-%d", w, i), i)
			c, err := f.prepare(e, r)
			if err != nil {
				f.tb.Fatal(err)
			}
			began := time.Now()
			if err := errors.Join(c.start(), c.wait()); err != nil || c.code() != 0 {
				f.tb.Fatalf("%v: %s", err, c.said())
			}
			all = append(all, time.Since(began))
			if w == wayUp {
				e.must("down")
			}
			if left := e.leftovers(); len(left) > 0 {
				f.tb.Fatalf("undisturbed, %s leaves %v", w, left)
			}
		}
		times[w] = slices.Min(all)
	}
	return times
}

// script is what is run by env test: it needs a service, and a moment.
const script = `"$WORKLOAD" get "http://$WEB_8080_ADDR/" >/dev/null && exec "$WORKLOAD" sleep 20ms`

// prepare makes the command that is to be struck.
func (f *field) prepare(e *environ, r *round) (*invocation, error) {
	if r.egress {
		e.with = append(e.with, filepath.Join(e.files, "egress.yaml"))
	}
	switch r.way {
	case wayUp:
		return e.command("up", "-d", "--wait"), nil
	case wayDown:
		if _, err := e.run("up", "-d", "--wait"); err != nil {
			return nil, err
		}
		return e.command("down"), nil
	case wayTest:
	}
	return e.command("test", "--", "sh", "-c", script), nil
}

// attempts is how often a round is tried whose moment came after the end, or whose victim
// never was there.
const attempts = 3

func (f *field) strikeUntilHit(r *round, usual time.Duration, tally *tally) error {
	for range attempts {
		outcome, took, err := f.strike(r, usual, tally)
		if err != nil {
			return err
		}
		if outcome != "" {
			tally.add(r, outcome)
			return nil
		}
		usual = min(usual, took)
		r.at *= 0.8
	}
	tally.add(r, "nothing was there to be struck")
	return nil
}

// strike is one round. The outcome is empty if nothing was struck; the command took that
// long then.
func (f *field) strike(r *round, usual time.Duration, tally *tally) (outcome string, took time.Duration, retErr error) {
	if r.cold {
		// Roots of its own: the neighbour has the image.
		cold := *f
		cold.roots.State += strconv.Itoa(r.number)
		cold.roots.Data += strconv.Itoa(r.number)
		f = &cold
	}
	e := f.newEnviron(fmt.Sprintf("r%d", r.number), r.number)
	c, err := f.prepare(e, r)
	if err != nil {
		return "", 0, err
	}
	began := time.Now()
	if err := c.start(); err != nil {
		return "", 0, err
	}
	select {
	case <-c.done:
	case <-time.After(time.Duration(r.at * float64(usual))):
	}
	hit, err := e.hit(r, c)
	struck := time.Now()
	if err != nil {
		return "", 0, err
	}
	if err := c.wait(); err != nil {
		return "", 0, fmt.Errorf("after the strike at %v: %w\n%s", hit, err, c.said())
	}
	defer func() {
		if retErr != nil {
			retErr = fmt.Errorf("%w\nstruck: %v\n%s", retErr, hit, c.said())
		}
	}()
	if err := e.checkDead(r, c, struck, tally); err != nil {
		return "", 0, err
	}
	if outcome, err = e.checkOutcome(r, c); err != nil {
		return "", 0, err
	}
	if err := e.checkCleared(r); err != nil {
		return "", 0, err
	}
	if r.cold {
		if err := errors.Join(os.RemoveAll(f.roots.State), os.RemoveAll(f.roots.Data)); err != nil {
			return "", 0, err
		}
	}
	if len(hit) == 0 {
		return "", struck.Sub(began), nil
	}
	return outcome, 0, nil
}

// hit strikes and returns what it hit, which is nothing if the command ended before.
func (e *environ) hit(r *round, c *invocation) ([]process, error) {
	var found []process
	for {
		for _, p := range e.processes() {
			if r.isVictim(p, c.cmd.Process.Pid) {
				found = append(found, p)
			}
		}
		if len(found) > 0 {
			break
		}
		select {
		case <-c.done:
			return nil, nil
		default:
		}
	}
	switch r.victim {
	case victimGroup:
		return found, ignoreGone(unix.Kill(-c.cmd.Process.Pid, unix.SIGKILL))
	case victimAsked:
		return found, ignoreGone(unix.Kill(c.cmd.Process.Pid, r.signal))
	case victimAll:
		r.random.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	default:
		at := r.random.IntN(len(found))
		found = found[at : at+1]
	}
	var errs []error
	for _, p := range found {
		errs = append(errs, p.Kill())
	}
	return found, errors.Join(errs...)
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// isVictim tells what each process is by its arguments.
func (r *round) isVictim(p process, commandLine int) bool {
	isInit := len(p.Args) == 2 && p.Args[1] == "init"
	switch r.victim {
	case victimCommand, victimGroup, victimAsked:
		return p.PID == commandLine
	case victimSupervisor:
		return slices.Contains(p.Args, "env-supervisor")
	case victimService:
		return p.Group != "" && p.Group != "_supervisor" && !isInit
	case victimInit:
		return isInit
	case victimCompanion:
		return slices.Contains(p.Args, "bring")
	case victimAll:
	}
	return true
}

// lostIts tells whether the environment lost its supervisor, or its parent on which
// it depends.
func (r *round) lostIts() bool {
	switch r.victim {
	case victimCommand, victimGroup:
		return r.way == wayTest
	case victimSupervisor, victimAll:
		return true
	case victimService, victimInit, victimCompanion, victimAsked:
	}
	return false
}

// checkDead waits until nothing runs that must not.
func (e *environ) checkDead(r *round, c *invocation, struck time.Time, tally *tally) error {
	if !r.lostIts() {
		return nil
	}
	if err := eventually(e.tb.Context(), patient(soon), e.running); err != nil {
		return err
	}
	if c.code() >= 128 {
		tally.died(time.Since(struck))
	}
	return nil
}

// checkOutcome looks at a command that ended by itself, and says in a few words how.
func (e *environ) checkOutcome(r *round, c *invocation) (string, error) {
	said := c.stderr.String()
	if strings.Contains(said, "goroutine ") || strings.Contains(said, "panic:") {
		return "", errors.New("it crashed")
	}
	killed := r.victim == victimCommand || r.victim == victimGroup || r.victim == victimAll
	if killed && c.code() == 128+int(unix.SIGKILL) {
		return "was killed", nil
	}
	if c.code() == 0 {
		if r.way == wayUp && r.victim != victimSupervisor && r.victim != victimService && r.victim != victimInit && r.victim != victimAll {
			if err := e.ask(); err != nil {
				return "", fmt.Errorf("it is said to be up: %w", err)
			}
		}
		if r.way != wayUp {
			return "succeeded", e.checkNothing()
		}
		return "succeeded", nil
	}
	told := lastLine(said)
	// A test's command that fails tells so by its code alone, as does one that was asked to end.
	if told == "" && r.way != wayTest && r.victim != victimAsked {
		return "", errors.New("the error does not tell what happened")
	}
	// Who interrupts a down has what is left taken down by another.
	if r.way != wayDown || r.victim != victimAsked {
		if err := e.checkNothing(); err != nil {
			return "", fmt.Errorf("it failed by itself and %w", err)
		}
	}
	return "said " + strings.ReplaceAll(told, e.name, "NAME"), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "sandboxrun: ") {
			return line
		}
	}
	return ""
}

func (e *environ) checkNothing() error {
	left := e.leftovers()
	if e.portIsTaken() != nil {
		left = append(left, "port "+e.address())
	}
	if len(left) > 0 {
		return fmt.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

// checkCleared lets the next command remove the rest, and looks what it leaves.
func (e *environ) checkCleared(r *round) error {
	commands := []string{r.after}
	if r.way != wayTest && r.after != "down" {
		// What lives on is for neither of the others.
		commands = []string{"gc", "down"}
	}
	for _, command := range commands {
		var args []string
		if command == "test" {
			args = []string{"--", "sh", "-c", script}
		}
		if _, err := e.run(command, args...); err != nil {
			return fmt.Errorf("afterwards %w", err)
		}
	}
	if err := e.checkNothing(); err != nil {
		return fmt.Errorf("%v %w", commands, err)
	}
	return nil
}

// tally counts what happened. It is safe for concurrent use.
type tally struct {
	mu       sync.Mutex
	outcomes map[string]int // guarded by mu, as all below
	deaths   []time.Duration
	broken   int
}

func (t *tally) add(r *round, outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outcomes == nil {
		t.outcomes = map[string]int{}
	}
	t.outcomes[fmt.Sprintf("%s, %s: %s", r.way, r.victim, outcome)]++
}

// struck is how many rounds struck something.
func (t *tally) struck() (count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for outcome, n := range t.outcomes {
		if !strings.HasSuffix(outcome, "nothing was there to be struck") {
			count += n
		}
	}
	return count
}

func (t *tally) died(after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deaths = append(t.deaths, after)
}

func (t *tally) failed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken++
}

func (t *tally) failures() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var text strings.Builder
	if slices.Sort(t.deaths); len(t.deaths) > 0 {
		fmt.Fprintf(&text, "all dead after a kill in %v (median), %v (longest), as seen from here\n", t.deaths[len(t.deaths)/2], t.deaths[len(t.deaths)-1])
	}
	var lines []string
	for what, count := range t.outcomes {
		lines = append(lines, fmt.Sprintf("%4d  %s", count, what))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[6:], b[6:]) })
	return text.String() + strings.Join(lines, "\n")
}
