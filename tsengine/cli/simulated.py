"""A simulated fleet for `tsengine demo`: freezers, weather stations, trackers, pumps and panels, seeded, at any pace.

A device is asked for a payload at a time, in the order of time; what it says depends on what it said before and on how long ago that was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from datetime import datetime
from random import Random
from typing import Any

from tsengine.types import DeviceType, to_datetime

Payload = list[dict[str, Any]]

LISBON = (38.7169, -9.1399)
DEGREE_M = 111_320.0
"""Metres of a degree of latitude."""


class Device(ABC):
    """One device of the fleet.

    Attributes:
        variable: the one to look at first.
    """

    kind = ""
    type: DeviceType = "immutable"
    variable = ""

    def __init__(self, number: int) -> None:
        self.name = f"{self.kind}-{number}"
        self.serial = f"DEMO-{number}"
        self._random = Random(number)
        self._last_us: int | None = None

    def payload(self, time_us: int) -> Payload:
        """Return what the device sends at a time, int64 microseconds."""
        seconds = 0.0 if self._last_us is None else (time_us - self._last_us) / 1e6
        self._last_us = time_us
        time = to_datetime(time_us)
        points = self._read(seconds, time)
        return [{"time": time_us, **point} for point in points]

    @abstractmethod
    def _read(self, seconds: float, time: datetime) -> Payload:
        """Return the points of now, `seconds` after the last ones."""

    def _happens(self, seconds: float, mean_s: float) -> bool:
        """Whether something that happens every `mean_s` on average happened meanwhile."""
        return self._random.random() < -math.expm1(-seconds / mean_s)


def point(variable: str, value: Any, unit: str | None = None, **more: Any) -> dict[str, Any]:
    return {"variable": variable, "value": value, "unit": unit, **more}


class Freezer(Device):
    """A compressor that keeps -18 °C within a degree, a door that is opened now and then, a counter of energy."""

    kind, variable = "freezer", "temperature"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._temperature, self._energy = -18.0, 0.0
        self._is_cooling = self._is_open = False

    def _read(self, seconds: float, time: datetime) -> Payload:
        self._is_open = self._happens(seconds, 3 * 3600) if not self._is_open else not self._happens(seconds, 90)
        minutes = min(seconds / 60, 30)
        self._temperature += minutes * ((0.8 if self._is_open else 0.06) - (0.15 if self._is_cooling else 0))
        self._temperature = min(max(self._temperature, -19.2), -8.0)
        self._is_cooling = self._temperature > -17 or (self._is_cooling and self._temperature > -19)
        self._energy += seconds / 3600 * (140 if self._is_cooling else 6)
        return [
            point("temperature", round(self._temperature + self._random.gauss(0, 0.05), 1), "C"),
            point("door", self._is_open),
            point("compressor", self._is_cooling),
            point("energy", round(self._energy, 1), "Wh"),
        ]


class WeatherStation(Device):
    """Temperature and humidity by the time of day, wind, pressure, and a gauge that counts rain."""

    kind, variable = "weather", "temperature"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._drift, self._pressure, self._rain = 0.0, 1015.0, 0.0
        self._is_raining = False

    def _read(self, seconds: float, time: datetime) -> Payload:
        hours = time.hour + time.minute / 60
        step = math.sqrt(seconds / 3600)
        self._drift = 0.995 * self._drift + self._random.gauss(0, 0.5) * step
        self._pressure += self._random.gauss(0, 0.3) * step + (1015 - self._pressure) * 0.001
        self._is_raining = self._happens(seconds, 20 * 3600) if not self._is_raining else not self._happens(seconds, 2 * 3600)
        self._rain += seconds / 3600 * self._random.uniform(0.5, 4) if self._is_raining else 0
        temperature = 16 + 6 * math.sin((hours - 9) / 24 * 2 * math.pi) + self._drift
        return [
            point("temperature", round(temperature, 1), "C"),
            point(
                "humidity", round(min(max(75 - 2.5 * (temperature - 16) + self._random.gauss(0, 2) + 15 * self._is_raining, 20), 100)), "%"
            ),
            point("pressure", round(self._pressure, 1), "hPa"),
            point("wind", round(abs(self._random.gauss(3, 1.5)), 1), "m/s"),
            point("rain", round(self._rain, 1), "mm"),
        ]


class Tracker(Device):
    """A van in a town: it drives and parks, and tells where it is, its speed and its battery."""

    kind, variable = "tracker", "speed"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._lat, self._lng = LISBON
        self._heading, self._battery = self._random.uniform(0, 2 * math.pi), 100.0
        self._is_moving = False

    def _read(self, seconds: float, time: datetime) -> Payload:
        self._is_moving = self._happens(seconds, 1200) if not self._is_moving else not self._happens(seconds, 900)
        speed = max(self._random.gauss(38, 12), 3.0) if self._is_moving else 0.0
        distance = speed / 3.6 * min(seconds, 120)
        # The farther from the centre, the more likely it turns back to it.
        north, east = LISBON[0] - self._lat, LISBON[1] - self._lng
        home = math.atan2(east, north)
        self._heading += self._random.gauss(0, 0.6) + math.sin(home - self._heading) * min(math.hypot(north, east) * 20, 1)
        self._lat += distance * math.cos(self._heading) / DEGREE_M
        self._lng += distance * math.sin(self._heading) / (DEGREE_M * math.cos(math.radians(self._lat)))
        self._battery = 100.0 if self._battery < 5 else self._battery - seconds / 3600 * 1.2
        place = {"lat": round(self._lat, 6), "lng": round(self._lng, 6)}
        return [
            point("position", "driving" if self._is_moving else "parked", location=place),
            point("speed", round(speed, 1), "km/h"),
            point("battery", round(self._battery), "%"),
        ]


class Pump(Device):
    """A pump that is off, runs or has failed, with flow and pressure, and a counter of its litres."""

    kind, variable = "pump", "flow"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._state, self._litres = "off", 0

    def _read(self, seconds: float, time: datetime) -> Payload:
        if self._state == "running":
            self._state = "fault" if self._happens(seconds, 48 * 3600) else "off" if self._happens(seconds, 2400) else "running"
        elif self._happens(seconds, 3600):
            self._state = "running"
        flow = round(self._random.gauss(42, 1.5), 2) if self._state == "running" else 0.0
        self._litres += int(flow * seconds / 60)
        pressure = round(self._random.gauss(3.2, 0.05) if flow else 1.0, 2)
        reason = {"code": 17, "text": "dry run"} if self._state == "fault" else None
        return [
            point("state", self._state, metadata=reason),
            point("flow", flow, "l/min"),
            point("pressure", pressure, "bar"),
            point("volume", self._litres, "l"),
        ]


class Panel(Device):
    """A mutable device: the settings of a room, one register each, which are edited."""

    kind, variable = "panel", "setpoint"
    type = "mutable"

    def _read(self, seconds: float, time: datetime) -> Payload:
        return [
            point("setpoint", self._random.choice([19.5, 20.0, 20.5, 21.0, 21.5]), "C"),
            point("mode", self._random.choice(["auto", "heat", "cool", "off"])),
            point("occupied", self._random.random() < 0.5),
            point("visitors", self._random.randrange(12)),
        ]


KINDS: tuple[type[Device], ...] = (Freezer, WeatherStation, Tracker, Pump, Panel)


def fleet(count: int) -> list[Device]:
    """Return so many devices, of all kinds in turn."""
    return [KINDS[number % len(KINDS)](number + 1) for number in range(count)]
