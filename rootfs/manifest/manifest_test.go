package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

var (
	hexA    = strings.Repeat("a", 64)
	config  = `"config":{"mediaType":"` + manifest.TypeOCIConfig + `","digest":"sha256:` + hexA + `","size":2}`
	oci     = `{"schemaVersion":2,"mediaType":"` + manifest.TypeOCIManifest + `",` + config + `,"layers":[]}`
	untyped = `{"schemaVersion":2,` + config + `,"layers":[]}`
	list    = `{"schemaVersion":2,"mediaType":"` + manifest.TypeDockerList + `","manifests":[]}`
)

func TestKind(t *testing.T) {
	tests := []struct {
		name, data, told, want string
		is                     error
	}{
		{"says so", oci, "", manifest.TypeOCIManifest, nil},
		{"told", untyped, manifest.TypeOCIManifest + "; charset=utf-8", manifest.TypeOCIManifest, nil},
		{"by its fields", untyped, "application/json", manifest.TypeOCIManifest, nil},
		{"list", list, "", manifest.TypeDockerList, nil},
		{"contradicts", oci, manifest.TypeOCIIndex, "", manifest.ErrMediaType},
		{"both", `{"schemaVersion":2,"manifests":[],` + config + `}`, "", "", manifest.ErrInvalid},
		{"index with layers", `{"schemaVersion":2,"mediaType":"` + manifest.TypeOCIIndex + `",` + config + `}`, "", "", manifest.ErrMediaType},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, "", "", manifest.ErrMediaType},
		{"helm", `{"schemaVersion":2,"mediaType":"application/x"}`, "", "", manifest.ErrMediaType},
		{"empty", `{}`, "", "", manifest.ErrMediaType},
		{"no JSON", `<html>`, "", "", manifest.ErrInvalid},
		{"two documents", oci + oci, "", "", manifest.ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := manifest.Kind([]byte(test.data), test.told)
			if got != test.want || !errors.Is(err, test.is) {
				t.Errorf("got %q, %v, want %q, %v", got, err, test.want, test.is)
			}
		})
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"schema":       {strings.Replace(oci, `"schemaVersion":2`, `"schemaVersion":3`, 1), "schemaVersion is 3"},
		"digest":       {strings.Replace(oci, hexA, "x", 1), "is not sha256:"},
		"upper case":   {strings.Replace(oci, hexA, strings.ToUpper(hexA), 1), "is not sha256:"},
		"no digest":    {strings.Replace(oci, "sha256:"+hexA, "", 1), "the digest is missing"},
		"size":         {strings.Replace(oci, `"size":2`, `"size":-2`, 1), "is negative"},
		"large config": {strings.Replace(oci, `"size":2`, `"size":99999999`, 1), "is above"},
		"layers": {strings.Replace(oci, `"layers":[]`, `"layers":[`+strings.TrimSuffix(strings.Repeat(`{},`, 1001), ",")+`]`, 1),
			"1001 layers are more than"},
		"too long": {strings.Repeat(" ", manifest.MaxDocument) + oci, "are above"},
	} {
		if _, err := manifest.ParseManifest([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := manifest.ParseManifest([]byte(oci)); err != nil {
		t.Error(err)
	}
}

func TestSelect(t *testing.T) {
	platform := func(os, arch, variant string) *manifest.Platform {
		return &manifest.Platform{OS: os, Architecture: arch, Variant: variant}
	}
	x := manifest.Index{Manifests: []manifest.Descriptor{
		{Size: 0, Platform: platform("unknown", "unknown", "")},
		{Size: 1, Platform: platform("linux", "amd64", "")},
		{Size: 2, Platform: platform("linux", "arm", "v6")},
		{Size: 3, Platform: platform("linux", "arm", "v7")},
		{Size: 4, Platform: platform("linux", "arm64", "v8")},
		{Size: 5, Platform: platform("windows", "amd64", "")},
		{Size: 6, Platform: platform("linux", "amd64", "v3")},
	}}
	for want, size := range map[string]int64{
		"linux/amd64": 1, "linux/amd64/v2": 1, "linux/amd64/v3": 6, "linux/arm/v6": 2, "linux/arm/v7": 3, "linux/arm": 3, "linux/arm64": 4, "linux/arm64/v8": 4,
	} {
		p, err := manifest.ParsePlatform(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := x.Select(p); err != nil || got.Size != size {
			t.Errorf("%s: got %d, %v, want %d", want, got.Size, err, size)
		}
	}
	_, err := x.Select(manifest.Platform{OS: "linux", Architecture: "riscv64"})
	if !errors.Is(err, manifest.ErrNoPlatform) || !strings.Contains(err.Error(), "linux/arm/v6") || strings.Contains(err.Error(), "unknown") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"", "linux", "linux/", "windows/amd64", "linux/a/b/c"} {
		if _, err := manifest.ParsePlatform(bad); err == nil {
			t.Errorf("platform %q was taken", bad)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	for _, seed := range []string{oci, untyped, list, `{"rootfs":{"type":"layers","diff_ids":["sha256:` + hexA + `"]},"config":{"Env":["A=B"]}}`} {
		f.Add([]byte(seed), manifest.TypeOCIManifest)
	}
	f.Fuzz(func(t *testing.T, data []byte, told string) {
		kind, err := manifest.Kind(data, told)
		if err == nil && manifest.IsIndex(kind) == manifest.IsManifest(kind) {
			t.Errorf("kind %q is both or neither", kind)
		}
		m, err := manifest.ParseManifest(data)
		if err == nil {
			for _, layer := range m.Layers {
				if _, err := manifest.ParseDigest(string(layer.Digest)); err != nil || layer.Size < 0 {
					t.Errorf("layer %+v passed: %v", layer, err)
				}
			}
		}
		if x, err := manifest.ParseIndex(data); err == nil {
			_, _ = x.Select(manifest.Host()) // must not panic
		}
		c, err := manifest.ParseConfig(data)
		if err != nil {
			return
		}
		encoded, err := manifest.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.ParseConfig(encoded); err != nil {
			t.Errorf("what was read and written cannot be read: %v", err)
		}
	})
}
