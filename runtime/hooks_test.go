package runtime

import (
	"slices"
	"testing"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// What each hook sees, in the order of libcontainer's calls.
func TestAdaptHooks(t *testing.T) {
	var seen []string
	note := func(name string) configs.HookList {
		return configs.HookList{configs.NewFunctionHook(func(s *specs.State) error {
			seen = append(seen, name+" "+string(s.Status))
			return nil
		})}
	}
	tests := []struct {
		name  string
		hooks configs.Hooks
		want  []string
	}{
		{"none", configs.Hooks{}, nil},
		{"all", configs.Hooks{
			configs.Prestart: note("prestart"), configs.CreateRuntime: note("createRuntime"),
			configs.Poststart: note("poststart"), configs.Poststop: note("poststop"),
		}, []string{"prestart created", "createRuntime creating"}},
		{"no prestart", configs.Hooks{configs.CreateRuntime: note("createRuntime")}, []string{"createRuntime creating"}},
		{"only prestart", configs.Hooks{configs.Prestart: note("prestart")}, []string{"prestart created"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen = nil
			adaptHooks(t.Context(), tt.hooks)
			state := &specs.State{Status: specs.StateCreating}
			for _, when := range []configs.HookName{configs.Prestart, configs.CreateRuntime, configs.Poststart, configs.Poststop} {
				if err := tt.hooks.Run(when, state); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(seen, tt.want) {
				t.Errorf("hooks saw %q, want %q", seen, tt.want)
			}
		})
	}
}
