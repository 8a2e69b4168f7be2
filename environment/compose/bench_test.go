package compose_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/compose"
)

// BenchmarkLoad loads and plans three services, as at the start of an environment; the first time in a process costs more.
func BenchmarkLoad(b *testing.B) {
	file := filepath.Join(b.TempDir(), "compose.yaml")
	err := os.WriteFile(file, []byte(`
services:
  web:
    image: nginx:1.27
    ports: ["8080:80"]
    depends_on: [api]
  api:
    image: example/api
    environment: {DATABASE_URL: "postgres://postgres@db/app", MODE: "${MODE:-test}"}
    depends_on: {db: {condition: service_healthy}}
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5"}}}
  db:
    image: postgres:16
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: ["CMD", "pg_isready"], interval: 1s}
volumes: {data: {}}
`), 0o644)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := compose.Load(b.Context(), compose.Options{Files: []string{file}}); err != nil {
			b.Fatal(err)
		}
	}
}
