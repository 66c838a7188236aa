// Package plot draws the project's figures, such as throughput over message
// size with its spread, as SVG and PNG files. It knows curves, axes and files;
// what is measured, and how, does not belong here.
package plot
