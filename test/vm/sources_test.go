package main

import (
	"strings"
	"testing"
)

func TestDebianSources(t *testing.T) {
	tests := []struct {
		name, targets, want string
	}{
		{"the guest's own release", `Debian|bookworm-security|main|http://mirror/security/
Debian|bookworm|contrib|http://mirror/debian/
Debian|bookworm|main|http://mirror/debian/
Debian|bookworm-updates|main|http://mirror/debian/
`, `deb http://mirror/debian/ bookworm main
deb http://mirror/debian/ bookworm-updates main
deb http://mirror/security/ bookworm-security main
`},
		{"another release of Debian", "Debian|trixie|main|https://mirror/debian/\n", "deb https://mirror/debian/ bookworm main\n"},
		{"the first mirror of several", "Debian|trixie|main|http://one/\nDebian|sid|main|http://two/\n", "deb http://one/ bookworm main\n"},
		{"not Debian", "Ubuntu|noble|main|http://mirror/ubuntu/\n", ""},
		{"security alone is no mirror of the suite", "Debian|bookworm-security|main|http://mirror/\n", ""},
		{"others' packages", "vendor|stable|main|http://vendor/\n|nodistro|main|http://vendor/\n", ""},
		{"nothing", "", ""},
		{"not what was asked for", "a|b\n\n||||||\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := sourcesList(debianSources(test.targets)); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}

func FuzzDebianSources(f *testing.F) {
	f.Add("Debian|bookworm|main|http://mirror/debian/\nDebian|bookworm-security|main|http://mirror/")
	f.Fuzz(func(t *testing.T, targets string) {
		for i, source := range debianSources(targets) {
			if (i == 0) != (source.suite == suite) || !strings.HasPrefix(source.suite, suite) {
				t.Errorf("source %d is of suite %q", i, source.suite)
			}
		}
	})
}

func TestTransportSettings(t *testing.T) {
	dump := `APT::Architecture "amd64";
Acquire::http "";
Acquire::http::Proxy "http://proxy:3128";
Acquire::https::Proxy "DIRECT";
Acquire::http::Proxy::mirror "DIRECT";
Acquire::Check-Valid-Until "false";
Acquire::AllowInsecureRepositories "0";
`
	want := `Acquire::http::Proxy "http://proxy:3128";
Acquire::https::Proxy "DIRECT";
Acquire::http::Proxy::mirror "DIRECT";
Acquire::Check-Valid-Until "false";
`
	if got := transportSettings(dump); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
