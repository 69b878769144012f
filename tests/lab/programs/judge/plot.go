package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	plotWidth, plotLeft  = 430.0, 190.0
	plotHeight, plotStep = 44.0, 66.0
	plotTop              = 70.0
)

// Plot draws how many pods of each app answered, Hostler left and kubectl right, on one scale of time.
func plot(series [2][]look) string {
	longest := time.Second
	for _, looks := range series {
		longest = max(longest, looks[len(looks)-1].at)
	}
	var svg strings.Builder
	width, height := plotLeft+2*plotWidth+50, plotTop+plotStep*float64(len(crew))+40
	svg.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12" `)
	fmt.Fprintf(&svg, `viewBox="0 0 %.0f %.0f">`+"\n", width, height)
	fmt.Fprintf(&svg, `<rect width="%.0f" height="%.0f" fill="#fff"/>`+"\n", width, height)
	title := "Pods that answered while every node was drained and rebooted; grey: a node was cordoned or away"
	fmt.Fprintf(&svg, `<text x="10" y="22" font-size="14">%s</text>`+"\n", title)
	for side, name := range []string{"hostler reboot --all", "kubectl drain, reboot, uncordon in a loop"} {
		left := plotLeft + float64(side)*(plotWidth+30)
		fmt.Fprintf(&svg, `<text x="%.0f" y="50" font-weight="bold">%s</text>`+"\n", left, name)
		x := func(at time.Duration) float64 { return left + plotWidth*at.Seconds()/longest.Seconds() }
		looks := series[side]
		for app, one := range crew {
			top := plotTop + plotStep*float64(app)
			most := 1
			for _, at := range looks {
				most = max(most, at.answers[app])
			}
			most = max(most, one.thing.number("replicas", 1))
			if side == 0 {
				fmt.Fprintf(&svg, `<text x="10" y="%.0f">%s</text>`+"\n", top+plotHeight/2+4, one.about)
			}
			bands(&svg, looks, x, top)
			const frame = `<path d="M%.0f %.0fv%.0fh%.0f" fill="none" stroke="#999"/>` + "\n"
			fmt.Fprintf(&svg, frame, left, top, plotHeight, plotWidth)
			const label = `<text x="%.0f" y="%.0f" text-anchor="end" font-size="10">%d</text>` + "\n"
			fmt.Fprintf(&svg, label, left-4, top+8, most)
			fmt.Fprintf(&svg, label, left-4, top+plotHeight, 0)
			y := func(count int) float64 { return top + plotHeight*(1-float64(count)/float64(most)) }
			path, before := "", -1
			for i, at := range looks {
				if at.answers[app] == before && i != len(looks)-1 {
					continue
				}
				if path == "" {
					path = fmt.Sprintf("M%.1f %.1f", x(at.at), y(at.answers[app]))
				} else {
					path += fmt.Sprintf("H%.1fV%.1f", x(at.at), y(at.answers[app]))
				}
				before = at.answers[app]
			}
			const line = `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>` + "\n"
			fmt.Fprintf(&svg, line, path, []string{"#06c", "#c50"}[side])
		}
		bottom := plotTop + plotStep*float64(len(crew))
		for second := 0; time.Duration(second)*time.Second <= longest; second += 20 {
			at := x(time.Duration(second) * time.Second)
			fmt.Fprintf(&svg, `<text x="%.0f" y="%.0f" text-anchor="middle" font-size="10">%d s</text>`+"\n", at, bottom, second)
		}
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

// Bands are the times in which not every node served.
func bands(svg *strings.Builder, looks []look, x func(time.Duration) float64, top float64) {
	from := -1
	for i, at := range looks {
		away := at.nodes < 4 || !at.api
		if away && from < 0 {
			from = i
		}
		if from >= 0 && (!away || i == len(looks)-1) {
			begin, end := x(looks[from].at), x(at.at)
			const band = `<rect x="%.1f" y="%.0f" width="%.1f" height="%.0f" fill="#eee"/>` + "\n"
			fmt.Fprintf(svg, band, begin, top, end-begin, plotHeight)
			from = -1
		}
	}
}
