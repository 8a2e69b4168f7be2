package supervisor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The files by which a program finds others. They are the instance's own, made in
// place of what the bundle has, and may be changed by it.
const (
	resolvFile = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
)

// writeFiles writes them. An instance that shares a network has those of its host.
func (i *instance) writeFiles() error {
	if i.endpoint.host != nil {
		return nil
	}
	dir := i.filesDir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of files: %w", err)
	}
	for name, content := range map[string]string{resolvFile: i.resolvConf(), hostsFile: i.hosts()} {
		if err := writeFile(filepath.Join(dir, filepath.Base(name)), []byte(content), 0, 0, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// filesDir is where the files are: those of the instance whose network is shared, if
// it is.
func (i *instance) filesDir() string {
	if i.endpoint.host != nil {
		i = i.endpoint.host
	}
	return i.env.private(filesDir, i.plan.Name)
}

// withFiles returns mounts with the files in place of the bundle's own. Those at
// whose place the service mounts something are left out.
func (i *instance) withFiles(mounts []specs.Mount) []specs.Mount {
	mounts = slices.Clone(mounts)
	for _, name := range []string{resolvFile, hostsFile} {
		if i.mounts(name) {
			continue
		}
		mounts = slices.DeleteFunc(mounts, func(m specs.Mount) bool { return m.Destination == name })
		mounts = append(mounts, specs.Mount{
			Destination: name, Type: "bind", Source: filepath.Join(i.filesDir(), filepath.Base(name)),
			Options: []string{"bind", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	return mounts
}

// mounts reports whether the service itself mounts something at target.
func (i *instance) mounts(target string) bool {
	for _, m := range i.service.Sandbox.Mounts {
		if filepath.Clean(m.Target) == target {
			return true
		}
	}
	for _, g := range i.service.Grants {
		if g.Target == target {
			return true
		}
	}
	return false
}

// resolvConf asks the environment's names, at the gateways of the instance's
// networks, or whom the service says. A name without a dot is asked for as it is.
func (i *instance) resolvConf() string {
	var b strings.Builder
	servers := i.service.DNS
	if len(servers) == 0 {
		servers = i.endpoint.servers
	}
	const most = 3 // MAXNS of resolv.conf(5)
	for _, server := range servers[:min(len(servers), most)] {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(i.service.DNSSearch) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(i.service.DNSSearch, " "))
	}
	options := i.service.DNSOpts
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
		options = append([]string{"ndots:0"}, options...)
	}
	fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	return b.String()
}

// hosts names the instance by its addresses.
func (i *instance) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	names := i.plan.Hostname
	if domain := i.service.Sandbox.Domainname; domain != "" {
		names = i.plan.Hostname + "." + domain + " " + i.plan.Hostname
	}
	if len(i.plan.Attachments) == 0 {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", names)
	}
	for _, a := range i.plan.Attachments {
		for _, address := range a.Addresses {
			fmt.Fprintf(&b, "%s\t%s\n", address, names)
		}
	}
	for _, h := range i.service.Sandbox.ExtraHosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.Address, h.Name)
	}
	return b.String()
}

// writeGrants writes the secrets and configs, each with its owner and mode.
func (i *instance) writeGrants() error {
	if len(i.service.Grants) == 0 {
		return nil
	}
	if err := os.Mkdir(i.env.private(grantsDir, i.plan.Name), 0o700); err != nil {
		return fmt.Errorf("make directory of secrets: %w", err)
	}
	user := i.sandbox.bundle.Spec.Process.User
	for n, g := range i.service.Grants {
		content, ok := i.env.handover.Secret(g.Secret)
		if !ok {
			return fmt.Errorf("cannot give %q: its content was not handed over", g.Secret)
		}
		uid, gid, mode := g.UID, g.GID, g.Mode
		if uid < 0 {
			uid = int(user.UID)
		}
		if gid < 0 {
			gid = int(user.GID)
		}
		if mode == 0 {
			mode = 0o400
		}
		if err := writeFile(i.grant(n), content, uid, gid, mode); err != nil {
			return fmt.Errorf("write %q: %w", g.Secret, err)
		}
	}
	return nil
}

func (i *instance) grant(n int) string {
	return i.env.private(grantsDir, i.plan.Name, strconv.Itoa(n))
}

func (i *instance) grantMounts() (mounts []specs.Mount) {
	for n, g := range i.service.Grants {
		mounts = append(mounts, specs.Mount{
			Destination: g.Target, Type: "bind", Source: i.grant(n),
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	return mounts
}

// writeFile makes a file that nobody else can see before it is complete: its
// directory is ours alone.
func writeFile(path string, content []byte, uid, gid int, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
