"""For everyone: axe-core finds nothing, the keyboard reaches everything, a phone shows it all."""

from __future__ import annotations

import pytest

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

DEVICES = {"desktop": {}, "phone": PHONE}

CONTROLS = """() => [...document.querySelectorAll('button, select, input, a[href], [tabindex="0"]')]
  .filter((one) => one.checkVisibility() && !one.disabled && !one.closest('dialog'))"""

NAME = "(one) => one.id || `${one.name}=${one.value}` || one.textContent"


@pytest.mark.slow
@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize("which", ["full", "bare"])
def test_axe_finds_nothing(open_map, request, which: str, device: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core").Axe()
    page = open_map(request.getfixturevalue(which).path, **DEVICES[device])
    page.evaluate("stpp.select([[-1, -1], [1, -1], [1, 1], [-1, 1]])")
    page.evaluate("stpp.set({ post: 5 })")
    for theme in ("light", "dark"):
        page.evaluate("(theme) => stpp.set({ theme })", theme)
        page.wait_for_timeout(50)
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.slow
def test_axe_would_find_a_button_without_a_name(open_map, bare) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core").Axe()
    page = open_map(bare.path)
    page.evaluate("['aria-label', 'title'].forEach((one) => document.getElementById('play').removeAttribute(one))")
    assert [found["id"] for found in axe.run(page).response["violations"]] == ["button-name"]


@pytest.mark.slow
def test_tab_reaches_every_control(open_map, full) -> None:
    page = open_map(full.path)
    page.evaluate("stpp.set({ compare: 'swipe' })")
    page.evaluate("stpp.select([[-1, -1], [1, -1], [1, 1], [-1, 1]])")
    wanted = set(page.evaluate(f"() => ({CONTROLS})().filter((one) => one.type !== 'radio').map({NAME})"))
    groups = set(page.evaluate("[...document.querySelectorAll('[type=radio]')].map((one) => one.name)"))
    assert {"play", "slider", "mode", "speed", "overlay", "model", "search", "png", "csv", "theme"} <= wanted
    reached, seen_outline = set(), True
    for _ in range(len(wanted) + 2 * len(groups) + 12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"() => ({NAME})(document.activeElement)"))
        seen_outline &= page.evaluate(
            """() => {
              const one = document.activeElement, label = one.nextElementSibling;
              const outlined = (node) => node && getComputedStyle(node).outlineStyle !== 'none';
              return one === document.body || outlined(one) || outlined(label);
            }"""
        )
    assert wanted <= reached
    assert all(any(name.startswith((f"{group}=", f"{group}-")) for name in reached) for group in groups)
    assert seen_outline, "a control shows nothing when it has the focus"


@pytest.mark.slow
def test_keys_play_step_and_switch(open_map, until, full) -> None:
    page = open_map(full.path, "#w=2")
    page.locator("#overlay").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("stpp.state.at") == 3
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("stpp.state.at") == 1
    page.keyboard.press("Home")
    assert page.evaluate("stpp.state.at") == 0
    page.keyboard.press("Space")
    until(page, "stpp.state.playing && stpp.state.at > 0")
    page.keyboard.press("Space")
    assert page.evaluate("stpp.state.playing") is False
    page.keyboard.press("End")
    assert page.evaluate("stpp.state.at") == 5
    for key, name in (("p", "posts"), ("b", "basins"), ("w", "flow")):
        page.keyboard.press(key)
        assert page.evaluate(f"stpp.state.{name}") is False
    page.keyboard.press("d")
    assert page.evaluate("stpp.state.raster") == "difference"
    page.keyboard.press("+")
    assert page.evaluate("stpp.state.view.scale") > 1
    page.keyboard.press("/")
    page.keyboard.type("p b w")  # in a field for words, keys are letters
    assert page.evaluate("[stpp.state.search, stpp.state.posts]") == ["p b w", False]
    page.keyboard.press("Escape")
    page.locator("#overlay").focus()
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.locator("#status").text_content()


@pytest.mark.slow
def test_on_a_phone_nothing_overflows_and_fingers_fit(open_map, full) -> None:
    page = open_map(full.path, **PHONE)
    page.evaluate("stpp.select([[-1, -1], [1, -1], [1, 1], [-1, 1]])")
    page.evaluate("stpp.set({ compare: 'swipe', post: 5 })")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    outside = page.evaluate(
        f"""() => ({CONTROLS})().filter((one) => {{
          const {{ left, right }} = one.getBoundingClientRect();
          return left < -0.5 || right > innerWidth + 0.5;
        }}).map({NAME})"""
    )
    assert outside == []
    small = page.evaluate(
        f"""() => ({CONTROLS})().map((one) => one.closest('label') ?? one).filter((one) => {{
          const {{ width, height }} = one.getBoundingClientRect();
          return width < 40 || height < 36;
        }}).map((one) => one.id || one.textContent.trim())"""
    )
    assert small == []
    page.locator("#play").tap()
    assert page.evaluate("stpp.state.playing") is True
    page.locator("#csv").scroll_into_view_if_needed()
    assert page.locator("#csv").is_visible()


@pytest.mark.slow
def test_who_asks_for_less_motion_gets_jumps(open_map, until, full) -> None:
    page = open_map(full.path, "#w=0", reduced_motion="reduce")
    page.evaluate("stpp.set({ speed: 4 }); stpp.play()")
    seen = set()
    while page.evaluate("stpp.state.playing"):
        seen.add(page.evaluate("stpp.state.at"))
    assert len(seen) > 2
    assert all(value == int(value) for value in seen)
