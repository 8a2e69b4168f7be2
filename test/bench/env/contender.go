package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// contender brings the three services up, until the last one answers, and down.
type contender interface {
	name() string
	up(ctx context.Context) error
	down(ctx context.Context) error
}

// composeFile has three services, each after the one that it needs. The first
// three arguments say what each is made of, and port what web publishes.
// podman-compose starts in this order, but waits for nobody to be ready.
func composeFile(web, api, db, port string) string {
	return fmt.Sprintf(`services:
  web:
    %s
    command: [/bin/workload, http, ":8080"]
    depends_on: {api: {condition: service_healthy}}
    ports: [%q]
    mem_limit: 64m
  api:
    %s
    command: [/bin/workload, http, ":8080"]
    depends_on: {db: {condition: service_healthy}}
    mem_limit: 64m
  db:
    %s
    command: [/bin/workload, http, ":5432"]
    mem_limit: 64m
`, web, port, api, db)
}

const publishedPort = "18080"

// answers waits until the last service answers at its published port.
func answers(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+publishedPort+"/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			if err := response.Body.Close(); err != nil {
				return err
			}
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("the published port does not answer: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// sandboxrun is what is judged.
type sandboxrun struct {
	meter   *meter
	program string
	dir     string // with root, data and compose files
}

func (s *sandboxrun) name() string { return "sandboxrun env" }

func (s *sandboxrun) env(args ...string) []string {
	return append([]string{s.program, "--root", filepath.Join(s.dir, "root"), "--data-root", filepath.Join(s.dir, "data"), "env"}, args...)
}

func (s *sandboxrun) up(ctx context.Context) error {
	if err := s.meter.run(ctx, nil, s.env("up", "-d", "--wait", "-q", "-f", filepath.Join(s.dir, "one.yaml"), "-p", "bench")...); err != nil {
		return err
	}
	if !s.meter.holds("bench") {
		return errors.New("the environment has control groups elsewhere: what it costs cannot be counted")
	}
	return answers(ctx)
}

func (s *sandboxrun) down(ctx context.Context) error {
	return s.meter.run(ctx, nil, s.env("down", "-q", "-t", "0", "-p", "bench", "-f", filepath.Join(s.dir, "one.yaml"))...)
}

// podmanCompose is podman-compose with podman and crun, as Debian has them, with
// storage and networks of its own.
type podmanCompose struct {
	meter *meter
	dir   string
	env   []string
}

func (p *podmanCompose) name() string { return "podman-compose" }

func (p *podmanCompose) up(ctx context.Context) error {
	if err := p.compose(ctx, "up", "-d"); err != nil {
		return err
	}
	return answers(ctx)
}

func (p *podmanCompose) down(ctx context.Context) error { return p.compose(ctx, "down", "-t", "0") }

func (p *podmanCompose) compose(ctx context.Context, args ...string) error {
	return p.meter.run(ctx, p.env, append([]string{"podman-compose", "-p", "bench", "-f", filepath.Join(p.dir, "compose.yaml")}, args...)...)
}

// podmanIsInstalled tells whether podman-compose can take part.
func podmanIsInstalled() bool {
	_, err := exec.LookPath("podman")
	_, composeErr := exec.LookPath("podman-compose")
	return err == nil && composeErr == nil
}

// newPodmanCompose makes an image of rootfs and saves it to archive.
func newPodmanCompose(ctx context.Context, m *meter, dir, rootfs, archive string) (*podmanCompose, error) {
	p := &podmanCompose{meter: m, dir: dir, env: []string{
		"CONTAINERS_CONF=" + filepath.Join(dir, "containers.conf"), "CONTAINERS_STORAGE_CONF=" + filepath.Join(dir, "storage.conf"),
	}}
	for name, content := range map[string]string{
		// The limits that podman would raise need CAP_SYS_RESOURCE, which a container that we are in may lack.
		"containers.conf": fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n"+
			"[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = %q\n", filepath.Join(dir, "networks")),
		"storage.conf": fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(dir, "storage"), filepath.Join(dir, "run")),
		"compose.yaml": composeFile("image: localhost/workload", "image: localhost/workload", "image: localhost/workload", "127.0.0.1:"+publishedPort+":8080"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	tarball := filepath.Join(dir, "workload.tar")
	for _, args := range [][]string{
		{"tar", "-C", rootfs, "-cf", tarball, "bin/workload"},
		{"podman", "import", tarball, "localhost/workload"},
		{"podman", "save", "--format", "docker-archive", "-o", archive, "localhost/workload"},
	} {
		if err := m.run(ctx, p.env, args...); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// remove takes away what podman has mounted and its group.
func (p *podmanCompose) remove(ctx context.Context) error {
	err := p.meter.run(ctx, p.env, "podman", "system", "reset", "--force")
	groups, globErr := filepath.Glob("/sys/fs/cgroup/*/libpod_parent")
	for _, group := range groups {
		if filepath.Dir(group) != unified {
			err = errors.Join(err, removeGroups(group))
		}
	}
	return errors.Join(err, globErr)
}

// removeGroups removes a group and those below it.
func removeGroups(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(group, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(group)
}

// bare is the minimum: namespaces, and nothing else.
type bare struct {
	meter    *meter
	workload string
	running  []*exec.Cmd
}

func (b *bare) name() string { return "unshare" }

func (b *bare) up(ctx context.Context) error {
	for _, port := range []string{":5432", ":8080", ":8080"} {
		cmd := b.meter.command(ctx, "unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", b.workload, "http", port)
		output, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		b.running = append(b.running, cmd)
		line, err := bufio.NewReader(output).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "listening") {
			return fmt.Errorf("%q said %q: %w", cmd.Args, line, err)
		}
	}
	return nil
}

func (b *bare) down(context.Context) error {
	for _, cmd := range b.running {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		if err := cmd.Wait(); cmd.ProcessState == nil {
			return err
		}
	}
	b.running = nil
	return nil
}
