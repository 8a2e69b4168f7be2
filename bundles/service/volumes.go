package service

import (
	"fmt"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// propagations of a bind mount (mount_namespaces(7)). Read only.
var propagations = []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}

// IsPropagation tells whether s is one of those of a bind mount (mount_namespaces(7)).
func IsPropagation(s string) bool { return slices.Contains(propagations, s) }

func readVolumes(r *reader, n *node, s *Service) {
	for _, item := range r.items(n, "volumes") {
		read := r.shortVolume
		if item.kind == mapping {
			read = r.longVolume
		}
		if mount, ok := read(item); ok {
			s.Mounts = append(s.Mounts, mount)
		}
	}
}

// shortVolume reads [SOURCE:]TARGET[:OPTION,...].
func (r *reader) shortVolume(n *node) (Mount, bool) {
	text := r.word(n, "volumes")
	parts := strings.Split(text, ":")
	m := Mount{Kind: Volume}
	switch {
	case len(parts) == 1:
		m.Target = parts[0]
	case len(parts) <= 3:
		m.Source, m.Target = parts[0], parts[1]
	}
	if m.Target == "" || !path.IsAbs(m.Target) || len(parts) > 1 && m.Source == "" {
		r.addf(n.yaml, "volumes: %q is not [SOURCE:]TARGET[:OPTIONS] with an absolute target", text)
		return m, false
	}
	if strings.ContainsAny(m.Source, "/") || m.Source == "." || m.Source == ".." || m.Source == "~" {
		m.Kind, m.Source = Bind, r.hostPath(m.Source)
	} else if m.Source != "" && !r.volumeName(n, m.Source) {
		return m, false
	}
	if len(parts) == 3 {
		for option := range strings.SplitSeq(parts[2], ",") {
			switch {
			case option == "ro":
				m.ReadOnly = true
			case option == "rw", option == "":
			case option == "nocopy" && m.Kind == Volume:
				m.NoCopy = true
			case IsPropagation(option) && m.Kind == Bind:
				m.Propagation = option
			default:
				r.addf(n.yaml, "volumes: option %q of %q is not supported; there are ro, rw, nocopy (volumes) and %s (binds)", option, text, strings.Join(propagations, ", "))
				return m, false
			}
		}
	}
	return m, true
}

func (r *reader) longVolume(n *node) (Mount, bool) {
	var m Mount
	before := len(r.problems)
	source := ""
	r.only(n, "volumes", map[string]func(*node){
		"type":      func(n *node) { m.Kind = MountKind(r.word(n, "volumes.type")) },
		"source":    func(n *node) { source = r.word(n, "volumes.source") },
		"target":    func(n *node) { m.Target = r.target(n, "volumes.target") },
		"read_only": func(n *node) { m.ReadOnly = r.yes(n, "volumes.read_only") },
		"bind": func(n *node) {
			r.only(n, "volumes.bind", map[string]func(*node){
				"propagation": func(n *node) {
					if m.Propagation = r.word(n, "volumes.bind.propagation"); !IsPropagation(m.Propagation) {
						r.addf(n.yaml, "volumes.bind.propagation %q is none of %s", m.Propagation, strings.Join(propagations, ", "))
					}
				},
			})
		},
		"volume": func(n *node) {
			r.only(n, "volumes.volume", map[string]func(*node){"nocopy": func(n *node) { m.NoCopy = r.yes(n, "volumes.volume.nocopy") }})
		},
		"tmpfs": func(n *node) {
			r.only(n, "volumes.tmpfs", map[string]func(*node){
				"size": func(n *node) { m.Options = append(m.Options, fmt.Sprintf("size=%d", r.size(n, "volumes.tmpfs.size"))) },
				"mode": func(n *node) {
					m.Options = append(m.Options, fmt.Sprintf("mode=%04o", r.octal(n, r.word(n, "volumes.tmpfs.mode"), "volumes.tmpfs.mode", 0o7777)))
				},
			})
		},
	})
	switch {
	case len(r.problems) > before:
		return m, false
	case m.Target == "":
		r.addf(n.yaml, "volumes: an entry needs a target")
		return m, false
	}
	switch m.Kind {
	case Bind:
		if source == "" {
			r.addf(n.yaml, "volumes: a bind needs a source")
			return m, false
		}
		m.Source = r.hostPath(source)
	case Volume:
		m.Source = source
		return m, source == "" || r.volumeName(n, source)
	case Tmpfs:
		if source != "" {
			r.addf(n.yaml, "volumes: a tmpfs has no source")
			return m, false
		}
	default:
		r.addf(n.yaml, "volumes.type %q is none of bind, volume and tmpfs", m.Kind)
		return m, false
	}
	return m, true
}

// volumeName: it becomes the name of a directory.
func (r *reader) volumeName(n *node, name string) bool {
	if IsName(name) {
		return true
	}
	r.addf(n.yaml, "volumes: %q is no name of a volume (letters, digits, _ . - after a letter or digit, at most 128); write ./%s for a path", name, name)
	return false
}

// IsName tells whether s can be the name of a volume, secret or config: it is safe
// as the name of a file of ours.
func IsName(s string) bool {
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// readTmpfs reads TARGET[:OPTION,...].
func readTmpfs(r *reader, n *node, s *Service) {
	for _, item := range r.items(n, "tmpfs") {
		m, err := ParseTmpfs(r.word(item, "tmpfs"))
		if err != nil {
			r.addf(item.yaml, "%v", err)
			continue
		}
		s.Mounts = append(s.Mounts, m)
	}
}

// ParseTmpfs reads an item of tmpfs: TARGET[:OPTION,...].
func ParseTmpfs(text string) (Mount, error) {
	target, options, found := strings.Cut(text, ":")
	if !path.IsAbs(target) {
		return Mount{}, errorf("tmpfs: %q is not TARGET[:OPTIONS] with an absolute target", text)
	}
	m := Mount{Kind: Tmpfs, Target: target}
	if found && options != "" {
		m.Options = strings.Split(options, ",")
	}
	return m, nil
}

// secretDefinitions reads the top-level secrets.
func (r *reader) secretDefinitions(n *node) map[string]Secret {
	all := map[string]Secret{}
	if n.kind != mapping {
		if n.kind != null {
			r.addf(n.yaml, "secrets must be a mapping of names to sources")
		}
		return all
	}
	for _, e := range n.entries {
		s := Secret{Name: e.key.Value}
		if !IsName(s.Name) {
			r.addf(e.key, "secrets: %q is no name of a secret", s.Name)
			continue
		}
		at := "secrets." + s.Name
		r.only(e.value, at, map[string]func(*node){
			"file":        func(n *node) { s.File = r.hostPath(r.word(n, at+".file")) },
			"environment": func(n *node) { s.Variable = r.word(n, at+".environment") },
		})
		if (s.File == "") == (s.Variable == "") {
			r.addf(e.key, "%s needs either file or environment", at)
			continue
		}
		all[s.Name] = s
	}
	return all
}

func readSecrets(r *reader, n *node, s *Service) {
	for _, item := range r.items(n, "secrets") {
		name, target := item.text, ""
		uid, gid := int64(-1), int64(-1)
		mode := Secret{}.Mode
		if item.kind == mapping {
			r.only(item, "secrets", map[string]func(*node){
				"source": func(n *node) { name = r.word(n, "secrets.source") },
				"target": func(n *node) { target = r.word(n, "secrets.target") },
				"uid":    func(n *node) { uid = r.integer(n, "secrets.uid", 0, math.MaxUint32-1) },
				"gid":    func(n *node) { gid = r.integer(n, "secrets.gid", 0, math.MaxUint32-1) },
				"mode":   func(n *node) { mode = r.mode(n, r.word(n, "secrets.mode"), "secrets.mode") },
			})
		}
		secret, ok := r.secrets[name]
		if !ok {
			r.addf(item.yaml, "secrets: %q is not defined; write secrets: {%s: {file: PATH}} at the top of the file, beside services", name, name)
			continue
		}
		if target == "" {
			target = name
		}
		if !path.IsAbs(target) {
			target = path.Join("/run/secrets", path.Join("/", target))
		}
		secret.Target, secret.UID, secret.GID, secret.Mode = filepath.Clean(target), int(uid), int(gid), mode
		if slices.ContainsFunc(s.Secrets, func(have Secret) bool { return have.Name == name }) {
			r.addf(item.yaml, "secrets: %q is there twice", name)
			continue
		}
		s.Secrets = append(s.Secrets, secret)
	}
}
