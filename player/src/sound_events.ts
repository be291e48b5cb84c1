/** What the speaker of this device tells. */

export interface SoundEvents {
  /** Sound began to move after a start, a seek or a stall: this is where. */
  started(): void;
  /** Whether a report is not answered yet: it may bring the playhead back. */
  asking(): boolean;
  /** Whether nobody hears of this sound for now: there is no line. */
  alone(): boolean;
  /** The browser wants a tap before it lets this page sound. */
  blocked(): void;
  ended(): void;
  /** Somebody outside the page (media key, headphones, system) stopped or started the element. */
  stoppedOutside(): void;
  startedOutside(): void;
  /** The stream's address is no longer honoured. */
  expired(): void;
  failed(message: string): void;
  /** Nothing will come out of this stream, and nothing more is tried by itself. */
  gaveUp(message: string): void;
}
