package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

const secretText = "correct-horse-battery"

func TestSecretsAreFilesAndNowhereElse(t *testing.T) {
	main := shell("main", "stat -c '%n %u %g %a' /run/secrets/* /conf; cat /conf; cat /run/secrets/key; touch /run/secrets/key || echo held; sleep 60")
	main.Grants = []plan.Grant{
		{Secret: "key", Target: "/run/secrets/key", UID: -1, GID: 7, Mode: 0o440},
		{Secret: "config:conf", Target: "/conf", UID: 3, GID: 4, Mode: 0o604},
	}
	e := up(t, func(d *plan.Draft, h *environment.Handover) {
		d.Plan.Secrets = []plan.Secret{{Name: "key", Variable: "KEY", Redact: true}, {Name: "config:conf", Inline: "plain"}}
		h.Secrets = []environment.SecretContent{{Name: "key", Content: []byte(secretText)}, {Name: "config:conf", Content: []byte("plain\n")}}
	}, main)
	e.waitPhase(control.Running)
	e.waitOutput("main-1", "held")
	got := e.output("main-1")
	for _, want := range []string{"/run/secrets/key 0 7 440", "/conf 3 4 604", "plain", "[redacted]"} {
		if !strings.Contains(got, want) {
			t.Errorf("output lacks %q: %s", want, got)
		}
	}
	e.nowhere(secretText)
	e.down()
	e.nowhere(secretText)
}

// nowhere fails if a file of the environment has text.
func (e *env) nowhere(text string) {
	e.t.Helper()
	for _, root := range []string{e.roots.State, e.roots.Data} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil //nolint:nilerr // it has just gone
			}
			if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(text)) {
				e.t.Errorf("%s has the secret", path)
			}
			return nil
		})
		if err != nil {
			e.t.Error(err)
		}
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(e.command.Process.Pid) + "/environ")
	if err == nil && bytes.Contains(status, []byte(text)) {
		e.t.Error("the supervisor's environment has the secret")
	}
}

func TestVolumesAreSharedAndFilledFromTheImage(t *testing.T) {
	const content = "/usr/share/base-files"
	mount := func(s plan.ServiceRequest, m ...plan.VolumeMount) plan.ServiceRequest {
		s.Volumes = m
		return s
	}
	first := mount(shell("first", "cd "+content+"; ls motd && mkdir sub && echo hello > sub/file; echo note > /mnt/note; echo done; sleep 60"),
		plan.VolumeMount{Volume: "data", Target: content}, plan.VolumeMount{Volume: "memory", Target: "/mnt"})
	first.Ready = []plan.Probe{{Kind: plan.ProbeLog, Pattern: "^done$"}}
	second := mount(shell("second", "cat /mnt/file /srv/note; echo x > /srv/y || echo held; stat -f -c %T /srv; sleep 60"),
		plan.VolumeMount{Volume: "data", Target: "/mnt", Subpath: "sub"}, plan.VolumeMount{Volume: "memory", Target: "/srv", ReadOnly: true})
	e := up(t, func(d *plan.Draft, _ *environment.Handover) {
		d.Plan.Volumes = []plan.Volume{{Name: "data"}, {Name: "memory", Tmpfs: true, Options: []string{"size=1m"}}}
	}, first, after(second, needs("first", plan.Healthy)))
	e.waitPhase(control.Running)
	e.waitOutput("second-1", "tmpfs")
	if got := e.output("second-1"); !strings.Contains(got, "hello") || !strings.Contains(got, "note") || !strings.Contains(got, "held") {
		t.Errorf("the second saw %s", got)
	}
	e.down()
	if _, err := os.Stat(filepath.Join(e.paths.Volumes, "data", "sub", "file")); err != nil {
		t.Errorf("the volume did not stay: %v", err)
	}
}

func TestExec(t *testing.T) {
	e := up(t, nil, shell("main", "sleep 60"), svc("other", "sleep", "60s"))
	e.waitPhase(control.Running)
	run := func(r control.ExecRequest, input string) (string, string, int, error) {
		t.Helper()
		r.Service = "main"
		in, inWriter := pipe(t)
		outReader, out := pipe(t)
		errReader, errs := pipe(t)
		if _, err := io.WriteString(inWriter, input); err != nil {
			t.Fatal(err)
		}
		if input != "" {
			inWriter.Close()
		}
		code, err := e.client.Exec(t.Context(), r, control.Streams{In: in, Out: out, Err: errs})
		out.Close()
		errs.Close()
		stdout, _ := io.ReadAll(outReader)
		stderr, _ := io.ReadAll(errReader)
		return string(stdout), string(stderr), code, err
	}
	stdout, stderr, code, err := run(control.ExecRequest{
		Command: []string{"/bin/sh", "-c", "cat; pwd; id -u; echo $A >&2; exit 4"}, Environment: []string{"A=b"}, User: "nobody", WorkingDir: "/tmp",
	}, "input ")
	if stdout != "input /tmp\n65534\n" || stderr != "b\n" || code != 4 || err != nil {
		t.Errorf("exec: %q, %q, %d, %v", stdout, stderr, code, err)
	}
	// Its input is not read to the end.
	if stdout, _, code, err = run(control.ExecRequest{Command: []string{"/bin/echo", "yes"}}, ""); stdout != "yes\n" || code != 0 || err != nil {
		t.Errorf("exec without input: %q, %d, %v", stdout, code, err)
	}
	if _, _, _, err = run(control.ExecRequest{Command: []string{"/no/such"}}, ""); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("exec of nothing: %v", err)
	}
	if _, _, _, err = run(control.ExecRequest{Command: []string{"/bin/true"}, Index: 2}, ""); err == nil || !strings.Contains(err.Error(), "instance 2") {
		t.Errorf("exec in no instance: %v", err)
	}
	if _, _, _, err = run(control.ExecRequest{Command: []string{"/bin/true"}, User: "nobody-at-all"}, ""); err == nil || !strings.Contains(err.Error(), "nobody-at-all") {
		t.Errorf("exec as nobody: %v", err)
	}
	if _, err := e.client.Exec(t.Context(), control.ExecRequest{Service: "main", Command: []string{"/bin/sleep", "50"}, Detach: true}, control.Streams{In: null(t), Out: null(t), Err: null(t)}); err != nil {
		t.Errorf("detached exec: %v", err)
	}
	// A client that goes takes its command with it, and what that has started.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	_, err = e.client.Exec(ctx, control.ExecRequest{Service: "main", Command: []string{"/bin/sh", "-c", "sleep 55 & sleep 55"}}, control.Streams{In: null(t), Out: null(t), Err: null(t)})
	if err == nil {
		t.Error("a cancelled exec succeeded")
	}
	e.waitNoProcess("sleep\x0055")
	e.down()
}

func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		reader.Close()
		writer.Close()
	})
	return reader, writer
}

func null(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestPortsArePublished(t *testing.T) {
	web := svc("web", "http", ":8080")
	web.Ready = []plan.Probe{{Kind: plan.ProbeListen, Port: 8080}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	e := up(t, func(_ *plan.Draft, h *environment.Handover) {
		h.Ports = []environment.OpenPort{{Service: "web", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: uint16(address.Port), Target: 8080, Protocol: "tcp", Descriptor: int(file.Fd())}}
	}, web)
	e.waitPhase(control.Running)
	file.Close()
	conn, err := net.DialTimeout("tcp", address.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Error(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "200 OK") {
		t.Errorf("the answer was %q, %v", answer, err)
	}
	status, err := e.client.Status(t.Context())
	if err != nil || len(status.Instances[0].Ports) != 1 || status.Instances[0].Ports[0].HostPort != uint16(address.Port) {
		t.Errorf("status: %+v, %v", status, err)
	}
	e.down()
	if conn, err := net.Dial("tcp", address.String()); err == nil {
		conn.Close()
		t.Error("the port is open still")
	}
}

func TestHooksRunInTheirOrder(t *testing.T) {
	main := shell("main", "trap 'echo asked; exit 0' TERM; echo main; while :; do sleep 0.05; done")
	main.Ready = []plan.Probe{{Kind: plan.ProbeLog, Pattern: "^post$"}}
	main.PreStart = []plan.Hook{
		{Command: []string{"/bin/sh", "-c", "echo pre $A > /mnt/log"}, Environment: []string{"A=1"}},
		{Command: []string{"/bin/sh", "-c", "cat /mnt/log; hostname"}, PerReplica: true},
	}
	main.Volumes = []plan.VolumeMount{{Volume: "data", Target: "/mnt"}}
	main.PostStart = []plan.Hook{{Command: []string{"/bin/echo", "post"}}}
	main.PreStop = []plan.Hook{{Command: []string{"/bin/sh", "-c", "id -u; echo stopping"}, User: "nobody"}}
	main.Replicas = 2
	e := up(t, func(d *plan.Draft, _ *environment.Handover) { d.Plan.Volumes = []plan.Volume{{Name: "data"}} }, main)
	e.waitPhase(control.Running)
	e.down()
	for _, instance := range []string{"main-1", "main-2"} {
		got := e.output(instance)
		at := 0
		for _, want := range []string{"pre 1", "65534", "stopping", "asked"} {
			next := strings.Index(got[at:], want)
			if next < 0 {
				t.Errorf("%s: %q is missing, or in another order: %s", instance, want, got)
				break
			}
			at += next
		}
		if code := e.exitCode(instance); code != 0 {
			t.Errorf("%s ended with %d", instance, code)
		}
	}
	if strings.Count(e.output("main-1")+e.output("main-2"), "pre 1") != 2 {
		t.Error("the first step did not run once")
	}
}

func TestNamespacesAreShared(t *testing.T) {
	web := svc("web", "http", "127.0.0.1:8080")
	web.Ready = []plan.Probe{{Kind: plan.ProbeListen, Port: 8080}}
	side := shell("side", "cat /etc/hosts; readlink /proc/self/ns/net /proc/1/ns/pid; sleep 60")
	side.JoinNetwork, side.JoinPID, side.JoinIPC = "web", "web", "web"
	side.Networks = nil
	side.Ready = []plan.Probe{{Kind: plan.ProbeTCP, Port: 8080, Host: "localhost"}, {Kind: plan.ProbeTCP, Port: 9090, Host: "other"}}
	e := up(t, nil, web, svc("other", "http", ":9090"), after(side, needs("web", plan.Healthy)))
	e.waitPhase(control.Running)
	e.waitOutput("side-1", "pid:")
	if got := e.output("side-1"); !strings.Contains(got, "10.89.0.3\\tweb") {
		t.Errorf("the second has other hosts: %s", got)
	}
	e.down()
	e.before("side-1", control.EventExited, "web-1", control.EventStopping)
}

func TestHealthIsToldAndWaitedFor(t *testing.T) {
	main := shell("main", "sleep 0.2; touch /tmp/well; sleep 0.3; rm /tmp/well; sleep 60")
	main.Healthcheck = &plan.Healthcheck{Command: []string{"/bin/sh", "-c", "test -e /tmp/well"}, Interval: 50 * time.Millisecond, Retries: 2, StartPeriod: 10 * time.Second, StartInterval: 20 * time.Millisecond}
	e := up(t, nil, main, after(svc("waits", "sleep", "60s"), needs("main", plan.Healthy)))
	e.waitFor("healthy", func(event control.Event) bool { return event.Kind == control.EventHealth && event.Detail == "healthy" })
	e.waitPhase(control.Running)
	e.waitFor("unhealthy", func(event control.Event) bool {
		return event.Kind == control.EventHealth && event.Detail == "unhealthy"
	})
	status, err := e.client.Status(t.Context())
	if err != nil || status.Instances[0].Health != "unhealthy" || status.Phase != control.Running {
		t.Errorf("status %+v, %v", status, err)
	}
	e.down()
	e.before("main-1", control.EventHealth, "waits-1", control.EventCreating)
}

func TestAKilledSupervisorLeavesWhatRemoveTakes(t *testing.T) {
	const ms = time.Millisecond
	for _, delay := range []time.Duration{0, 20 * ms, 50 * ms, 100 * ms, 400 * ms} {
		t.Run(delay.String(), func(t *testing.T) {
			e := up(t, func(d *plan.Draft, _ *environment.Handover) { d.Plan.Volumes = []plan.Volume{{Name: "data"}} },
				svc("one", "sleep", "60s"), after(shell("two", "sleep 60"), needs("one", plan.Started)))
			record := environment.Record{Name: e.plan.Name, Roots: e.roots, Cgroup: "/sandboxrun-env-" + e.plan.Name}
			if err := record.Write(); err != nil {
				t.Fatal(err)
			}
			<-time.After(delay)
			if err := e.command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-e.ended
			e.waitNoProcess("")
			if err := e.cgroup.Remove(t.Context()); err != nil {
				t.Error(err)
			}
			if err := e.roots.Remove(t.Context(), e.plan.Name, environment.RemoveOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(e.paths.Data); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("data is left: %v", err)
			}
		})
	}
}

func TestATerminalIsSentToTheClient(t *testing.T) {
	e := up(t, nil, shell("main", "sleep 60"))
	e.waitPhase(control.Running)
	var seen []byte
	code, err := e.client.Exec(t.Context(), control.ExecRequest{Service: "main", Command: []string{"/bin/sh", "-c", "tty; read a; echo got $a; exit 6"}, Terminal: true},
		control.Streams{Terminal: func(master *os.File) {
			defer master.Close()
			if _, err := io.WriteString(master, "line\n"); err != nil {
				t.Error(err)
			}
			seen, _ = io.ReadAll(master) // EIO is a terminal's end
		}})
	if err != nil || code != 6 || !strings.Contains(string(seen), "/dev/") || !strings.Contains(string(seen), "got line") {
		t.Errorf("the terminal gave %q, code %d, %v", seen, code, err)
	}
	e.down()
}

func TestOutputIsStoredAsFarAsTheServiceSays(t *testing.T) {
	const most = 20_000
	bounded, silent := shell("bounded", "seq 10000; echo done; sleep 60"), shell("silent", "echo done; sleep 60")
	bounded.Logs, silent.Logs = plan.Logs{MaxSize: most, MaxFiles: 3}, plan.Logs{None: true}
	for _, s := range []*plan.ServiceRequest{&bounded, &silent} {
		// What is not stored is looked at all the same.
		s.Ready = []plan.Probe{{Kind: plan.ProbeLog, Pattern: "^done$"}}
	}
	e := up(t, nil, bounded, silent)
	e.waitPhase(control.Running)
	e.down()
	files, err := os.ReadDir(e.paths.Logs)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		// A piece of output is in one file.
		const piece = 64 << 10
		if info, err := f.Info(); err != nil || info.Size() > most+piece {
			t.Errorf("%s: %v, %v", f.Name(), info, err)
		}
	}
	if want := []string{"bounded-1.log", "bounded-1.log.1", "bounded-1.log.2"}; !slices.Equal(names, want) {
		t.Errorf("got files %q, want %q", names, want)
	}
	if !strings.Contains(e.output("bounded-1"), `"done"`) {
		t.Error("the newest line is not in the newest file")
	}
}
