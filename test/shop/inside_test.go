package shop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestInside is what env test runs: the shop as its customers see it, and then
// its limits.
func TestInside(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("is run by TestShop against its environment")
	}
	s := &gateway{url: "http://" + os.Getenv("GATEWAY_8080_ADDR"), client: &http.Client{Timeout: time.Minute}}
	t.Run("orders", s.testOrders)
	t.Run("networks", testNetworks)
	t.Run("secrets", s.testSecrets)
	t.Run("limits", func(t *testing.T) {
		t.Run("cpu", s.testCPU)
		t.Run("pids", s.testPids)
		t.Run("memory", s.testMemory)
	})
}

// gateway is the shop's published port.
type gateway struct {
	url    string
	client *http.Client
}

// ask sends a request, with a body if there is one, and decodes the answer.
func (s *gateway) ask(t *testing.T, method, path, body string, answer any) {
	t.Helper()
	status, text := s.send(t, method, path, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s: status %d\n%s", method, path, status, text)
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		t.Fatalf("%s %s: %v in %q", method, path, err, text)
	}
}

func (s *gateway) send(t *testing.T, method, path, body string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

// in runs a command in a service's container and returns its standard output.
func in(t *testing.T, service string, command ...string) (string, error) {
	t.Helper()
	args := append([]string{"--root", os.Getenv(rootVariable), "env", "exec", "--project-name", os.Getenv("SANDBOXRUN_ENV"), service}, command...)
	cmd := exec.CommandContext(t.Context(), os.Getenv("SANDBOXRUN_BIN"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v in %s: %w\n%s", command, service, err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// testOrders has orders go through the gateway and the API, and looks for them
// in the databases themselves.
func (s *gateway) testOrders(t *testing.T) {
	type order struct {
		ID       int64  `json:"id"`
		Item     string `json:"item"`
		Quantity int    `json:"quantity"`
	}
	for n := 1; n <= 10; n++ {
		var placed order
		s.ask(t, "POST", "/orders", fmt.Sprintf(`{"item": "tea", "quantity": %d}`, n), &placed)
		var seen struct {
			Order   order  `json:"order"`
			Receipt string `json:"receipt"`
		}
		s.ask(t, "GET", fmt.Sprintf("/orders/%d", placed.ID), "", &seen)
		if want := (order{int64(n), "tea", n}); placed != want || seen.Order != want || seen.Receipt != fmt.Sprintf("%d tea\n", n) {
			t.Errorf("order %d: placed %+v, seen %+v", n, placed, seen)
		}
	}
	if status, text := s.send(t, "POST", "/orders", `{"item": "tea", "quantity": 0}`); status != http.StatusServiceUnavailable || !strings.Contains(text, "orders_quantity_check") {
		t.Errorf("PostgreSQL took an order of nothing: %d, %s", status, text)
	}
	var sold int
	if s.ask(t, "GET", "/sold/tea", "", &sold); sold != 55 {
		t.Errorf("%d sold, want 55", sold)
	}

	rows, err := in(t, "db", "sh", "-c", `PATH=$(echo /usr/lib/postgresql/*/bin):$PATH psql -h /run/postgresql -U postgres -Atc "select count(*), sum(quantity) from orders"`)
	if err != nil || rows != "10|55" {
		t.Errorf("PostgreSQL has %q, %v, want 10|55", rows, err)
	}
	if count, err := in(t, "cache", "redis-cli", "get", "sold:tea"); err != nil || count != "55" {
		t.Errorf("Redis has %q, %v, want 55", count, err)
	}
}

// testNetworks has the gateway reach the API, and not the databases.
func testNetworks(t *testing.T) {
	if answer, err := in(t, "gateway", "curl", "-sS", "http://api:8080/healthz"); err != nil || answer != `"well"` {
		t.Errorf("the API says %q to the gateway, %v", answer, err)
	}
	if _, err := in(t, "gateway", "curl", "-sS", "--max-time", "5", "telnet://db:5432"); err == nil || !strings.Contains(err.Error(), "Could not resolve host: db") {
		t.Errorf("the gateway looks for the database and gets %v", err)
	}
}

// testSecrets has the API print the database's password. TestShop looks for it.
func (s *gateway) testSecrets(t *testing.T) {
	var answer string
	s.ask(t, "POST", "/print-password", "", &answer)
	if mode, err := in(t, "db", "sh", "-c", "[ -r /run/secrets/db_password ] && ! [ -w /run/secrets/db_password ] && echo readable"); err != nil || mode != "readable" {
		t.Errorf("the secret is %q, %v", mode, err)
	}
}

// testCPU has two threads compute for a second with half a CPU. A machine that is
// busy gives less.
func (s *gateway) testCPU(t *testing.T) {
	var used struct{ CPU, Wall float64 }
	s.ask(t, "POST", "/hog/cpu", "", &used)
	// A period of 100 ms may be begun at both ends.
	if most := 0.5 * (used.Wall + 0.2); used.CPU > most || used.CPU == 0 {
		t.Errorf("%.3f s of CPU in %.3f s, want at most %.3f", used.CPU, used.Wall, most)
	}
}

func (s *gateway) testPids(t *testing.T) {
	var got struct {
		Started int    `json:"started"`
		Error   string `json:"error"`
	}
	s.ask(t, "POST", "/hog/pids", "", &got)
	// Of 64, the API's own threads take some.
	if got.Started < 32 || got.Started >= 64 || got.Error != "resource temporarily unavailable" {
		t.Errorf("the API could start %d processes, then %q", got.Started, got.Error)
	}
}

// testMemory has the API use memory without end: it is killed, and there again.
func (s *gateway) testMemory(t *testing.T) {
	if status, text := s.send(t, "POST", "/hog/memory", ""); status != http.StatusBadGateway {
		t.Errorf("status %d, want a bad gateway, since the API was killed\n%s", status, text)
	}
	ctx, again := t.Context(), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	deadline := time.After(time.Minute)
	for status := 0; status != http.StatusOK; status, _ = s.send(t, "GET", "/healthz", "") {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-deadline:
			t.Fatal("the API did not come back")
		}
	}
	var seen struct{ Receipt string }
	if s.ask(t, "GET", "/orders/1", "", &seen); seen.Receipt != "1 tea\n" {
		t.Errorf("the receipt on the volume is %q", seen.Receipt)
	}
}
