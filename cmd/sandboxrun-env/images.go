package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/distribution/reference"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/pack"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unchanged"
)

// When the registry is asked, as compose's pull_policy has it.
const (
	pullAlways  = "always"
	pullMissing = "missing"
	pullNever   = "never"
)

// registryPrefix begins a source that is a registry's image.
const registryPrefix = "docker://"

// imageUse is one distinct source and where it is used.
type imageUse struct {
	source, platform, pull string
	services               []string
	images                 []*plan.Image
	// files is the state of a local source before it was read; the zero value if it is not
	// to be remembered.
	files unchanged.State
}

// imageUses lists the sources of p, each once, in the order of the services. pull
// wins over each service's own policy if it is not empty.
func imageUses(p *plan.Plan, pull string) []*imageUse {
	var uses []*imageUse
	add := func(s *plan.Service, i *plan.Image) {
		if i == nil || i.Host {
			return
		}
		u := &imageUse{source: i.Source, platform: s.Sandbox.Platform, pull: pullOf(i.Pull, pull)}
		at := slices.IndexFunc(uses, func(have *imageUse) bool {
			return have.source == u.source && have.platform == u.platform && have.pull == u.pull
		})
		if at < 0 {
			uses = append(uses, u)
			at = len(uses) - 1
		}
		uses[at].images = append(uses[at].images, i)
		if !slices.Contains(uses[at].services, s.Name) {
			uses[at].services = append(uses[at].services, s.Name)
		}
	}
	for i := range p.Services {
		s := &p.Services[i]
		add(s, &s.Image)
		for h := range s.PreStart {
			add(s, s.PreStart[h].Image)
		}
	}
	return uses
}

// pullOf is the policy that holds. Compose knows more words than the store: an
// image is never built here, and refreshed only when that is asked for.
func pullOf(own, flag string) string {
	switch {
	case flag != "":
		return flag
	case own == pullAlways, own == pullNever:
		return own
	}
	return pullMissing
}

// brought is what sandboxrun-images tells of one source.
type brought struct {
	Reference      string          `json:"reference"`
	Digest         manifest.Digest `json:"digest"`
	Platform       string          `json:"platform"`
	Variant        string          `json:"variant"`
	DockerDefaults bool            `json:"docker_defaults"`
	Error          string          `json:"error"`
}

func (u *imageUse) set(b brought) {
	for _, i := range u.images {
		i.Reference, i.Digest, i.Platform, i.Variant, i.DockerDefaults = b.Reference, b.Digest, b.Platform, b.Variant, b.DockerDefaults
	}
}

// bringImages fills in the images of p. What the store does not have comes by one
// process of sandboxrun-images, which shows its progress on stderr.
func (inv *invocation) bringImages(ctx context.Context, p *plan.Plan, pull string, quiet bool) error {
	st, err := store.Open(inv.roots.Data)
	if err != nil {
		return err
	}
	memory := unchanged.In(inv.roots.Data)
	var missing []*imageUse
	for _, u := range imageUses(p, pull) {
		b, ok := stored(st, u)
		if !ok {
			b, ok = remembered(ctx, st, memory, u)
		}
		if ok {
			u.set(b)
			continue
		}
		missing = append(missing, u)
	}
	if len(missing) > 0 {
		if err := inv.fetch(ctx, missing, quiet); err != nil {
			return err
		}
		inv.remember(ctx, memory, missing)
	}
	return takeHealthchecks(st, p)
}

// localFiles are the files that the image of a local source is made of; nil for
// another kind of source.
func localFiles(source string) []string {
	if strings.HasPrefix(source, "/") {
		return []string{source} // a directory or archive by its path alone
	}
	kind, path, _ := strings.Cut(source, ":")
	switch kind {
	case binaryKind:
		return append([]string{path}, pack.CertificateFiles()...)
	case "dir", "tar":
		return []string{path}
	case "docker-archive", "oci-archive", "oci":
		// Where there is a second colon, only who reads the archive knows what belongs to its name.
		if !strings.Contains(path, ":") {
			return []string{path}
		}
	}
	return nil
}

// binaryKind is the kind of source that has none of docker's defaults.
const binaryKind = "binary"

// memoryKey is what a local image depends on beside its files.
func (u *imageUse) memoryKey() string { return u.source + " " + u.platform }

// remembered looks whether a local source is as it was when its image was made. It
// notes the source's state for remember.
func remembered(ctx context.Context, st *store.Store, memory unchanged.Memory, u *imageUse) (brought, bool) {
	files := localFiles(u.source)
	if files == nil || u.pull == pullAlways || os.Geteuid() != 0 {
		return brought{}, false
	}
	var err error
	if u.files, err = unchanged.Look(ctx, files...); err != nil {
		u.files = unchanged.State{}
		return brought{}, false // whoever reads the source tells why
	}
	digest, ok := memory.Recall(u.memoryKey(), u.files)
	if !ok {
		return brought{}, false
	}
	found, err := st.Image(string(digest), "")
	if err != nil {
		return brought{}, false
	}
	return brought{
		Reference: u.source, Digest: digest, Platform: found.Config.Platform().String(), DockerDefaults: !strings.HasPrefix(u.source, binaryKind+":"),
	}, true
}

// remember notes which files the images were made of.
func (inv *invocation) remember(ctx context.Context, memory unchanged.Memory, uses []*imageUse) {
	for _, u := range uses {
		if u.files.Sum == "" {
			continue
		}
		after, err := unchanged.Look(ctx, localFiles(u.source)...)
		if err == nil {
			err = memory.Remember(u.memoryKey(), u.files, after, u.images[0].Digest)
		}
		if err != nil {
			inv.log.Debug("a source is not remembered", "source", u.source, "error", err)
		}
	}
}

// stored looks for a registry's image in the store.
func stored(st *store.Store, u *imageUse) (brought, bool) {
	name, ok := strings.CutPrefix(u.source, registryPrefix)
	if !ok || u.pull == pullAlways || os.Geteuid() != 0 {
		return brought{}, false
	}
	full, err := reference.ParseDockerRef(name)
	if err != nil {
		return brought{}, false
	}
	found, err := st.Image(full.String(), "")
	if err != nil {
		return brought{}, false
	}
	want := manifest.Host()
	if u.platform != "" {
		if want, err = manifest.ParsePlatform(u.platform); err != nil {
			return brought{}, false
		}
	}
	if !want.Runs(found.Config.Platform()) {
		return brought{}, false
	}
	return brought{Reference: found.Reference, Digest: found.Digest, Platform: found.Config.Platform().String(), DockerDefaults: true}, true
}

// fetch lets sandboxrun-images bring sources into the store.
func (inv *invocation) fetch(ctx context.Context, uses []*imageUse, quiet bool) error {
	type wanted struct {
		Source   string `json:"source"`
		Platform string `json:"platform,omitempty"`
		Pull     string `json:"pull"`
	}
	var list []wanted
	for _, u := range uses {
		list = append(list, wanted{u.source, u.platform, u.pull})
	}
	request, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode list of images: %w", err)
	}
	program, err := siblingProgram("sandboxrun-images")
	if err != nil {
		return err
	}
	args := append(slices.Clone(inv.given), "image", "bring")
	if quiet {
		args = append(args, "--quiet")
	}
	var out bytes.Buffer
	command := exec.CommandContext(ctx, program, args...)
	command.Args[0] = "sandboxrun"
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(request), &out, inv.streams.err
	command.Cancel = func() error { return command.Process.Signal(unix.SIGTERM) }
	if err := runTied(command); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("cannot bring images into the store: %s: %w", program, err)
	}
	var results []brought
	if err := json.Unmarshal(out.Bytes(), &results); err != nil || len(results) != len(uses) {
		return fmt.Errorf("cannot bring images into the store: %s answered %.200q; install sandboxrun and its companions anew", program, out.String())
	}
	return takeResults(uses, results)
}

// takeResults joins the errors of all sources.
func takeResults(uses []*imageUse, results []brought) error {
	var problems []error
	for i, u := range uses {
		if results[i].Error != "" {
			problems = append(problems, fmt.Errorf("service %s: %s", strings.Join(u.services, ", "), results[i].Error))
			continue
		}
		u.set(results[i])
	}
	return errors.Join(problems...)
}

// runTied runs a command that ends with this process, however that ends. The
// kernel's signal comes when the thread that forked ends: it is kept until then.
func runTied(command *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return command.Run()
}

// siblingProgram finds another program of ours: beside this one, or where "make
// install" puts it.
func siblingProgram(name string) (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("find the directory of this program: %w", err)
	}
	dir := filepath.Dir(self)
	places := []string{filepath.Join(dir, name)}
	if libexec := filepath.Join("libexec", "sandboxrun"); strings.HasSuffix(dir, "/"+libexec) {
		places = append(places, filepath.Join(strings.TrimSuffix(dir, libexec), "bin", name))
	}
	for _, path := range places {
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find %s: it is not at %s; \"make install\" puts it in place", name, strings.Join(places, " or "))
}

// takeHealthchecks gives each service the check that file and image make together.
func takeHealthchecks(st *store.Store, p *plan.Plan) error {
	for i := range p.Services {
		s := &p.Services[i]
		if s.Image.Digest == "" {
			s.Healthcheck = s.CheckOf(nil)
			continue
		}
		_, config, err := st.Documents(s.Image.Digest)
		if err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
		s.Healthcheck = s.CheckOf(config.Config.Healthcheck)
	}
	return nil
}

// parsePull checks the flag --pull.
func parsePull(value string) (string, error) {
	if value == "" || slices.Contains([]string{pullAlways, pullMissing, pullNever}, value) {
		return value, nil
	}
	return "", commandline.Usagef("--pull %q: it must be missing, always or never", value)
}
