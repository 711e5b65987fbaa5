// Package slo makes of a plan what others watch it with: Prometheus rules of service level objectives, and Grafana dashboards. What it
// writes speaks of the metrics of package metrics only.
package slo
